package report

import "embed"

//go:embed schemas
var schemas embed.FS

// Schema returns the JSON Schema (draft 2020-12) of a kind of message, with examples. It stands alone.
func Schema(k Kind) []byte {
	b, err := schemas.ReadFile("schemas/" + string(k) + ".json")
	if err != nil {
		panic("BUG: report: schema of " + string(k))
	}
	return b
}

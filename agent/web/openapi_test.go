package web

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

type document struct {
	Paths map[string]map[string]json.RawMessage `json:"paths"`
}

// ref is the schema of an answer in JSON, "" if the document has none.
func (d document) ref(t *testing.T, path, method, status string) string {
	t.Helper()
	var op struct {
		Responses map[string]struct {
			Content map[string]struct {
				Schema struct {
					Ref string `json:"$ref"`
				} `json:"schema"`
			} `json:"content"`
		} `json:"responses"`
	}
	if err := json.Unmarshal(d.Paths[path][method], &op); err != nil {
		t.Errorf("%s %s: %v", method, path, err)
	}
	return op.Responses[status].Content["application/json"].Schema.Ref
}

func TestOpenAPIHasEachRouteAndNoOther(t *testing.T) {
	var d document
	if err := json.Unmarshal(openAPI, &d); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, newFake())
	for _, r := range s.routes() {
		m := strings.ToLower(r.method)
		if _, ok := d.Paths[r.path][m]; !ok {
			t.Errorf("openapi.json lacks %s %s", r.method, r.path)
		}
		delete(d.Paths[r.path], m)
	}
	for _, beside := range []string{"/metrics", "/whep/{channel}", "/whep/{channel}/{view}"} { // not below /api/v1
		if _, ok := d.Paths[beside]["servers"]; !ok {
			t.Errorf("openapi.json lacks %s, or its server", beside)
		}
		delete(d.Paths, beside)
	}
	for p, ops := range d.Paths {
		for m := range ops {
			t.Errorf("openapi.json has %s %s, which is no route", m, p)
		}
	}
}

// Each answer of the real handlers is what the document says.
func TestOpenAPIDescribesTheAnswers(t *testing.T) {
	var d document
	if err := json.Unmarshal(openAPI, &d); err != nil {
		t.Fatal(err)
	}
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(openAPI))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("mem:openapi.json", whole); err != nil {
		t.Fatal(err)
	}
	running := newFake()
	if _, err := running.Start(t.Context(), "panel", Details{Case: "12"}, ""); err != nil {
		t.Fatal(err)
	}
	running.state.Faults = []Fault{{Code: "disk-gone", Severity: "alarm", Ch: "B", Since: "2026-11-23T06:05:09Z"}}
	broken := newFake()
	broken.fails = errDisk
	for _, tt := range []struct {
		f                       *fake
		method, path, url, body string
		hdr                     string
		status                  string
	}{
		{newFake(), "get", "/state", "/state", "", logged, "200"},
		{running, "get", "/state", "/state", "", logged, "200"},
		{newFake(), "get", "/state", "/state", "", "Remote: 192.0.2.7", "401"},
		{newFake(), "get", "/health", "/health", "", logged, "503"},
		{measuredFake(), "get", "/health", "/health", "", logged, "200"},
		{measuredFake(), "get", "/health", "/health", "", "Remote: 192.0.2.7", "401"},
		{newFake(), "get", "/compliance", "/compliance", "", logged, "503"},
		{measuredFake(), "get", "/compliance", "/compliance", "", logged, "200"},
		{measuredFake(), "get", "/compliance", "/compliance", "", "Remote: 192.0.2.7", "401"},
		{measuredFake(), "get", "/state", "/state", "", logged, "200"},
		{newFake(), "post", "/session", "/session", `{"officers":["a 1"]}`, logged, "201"},
		{newFake(), "post", "/session", "/session", `[`, logged, "400"},
		{newFake(), "post", "/session/details", "/session/details", "{}", logged, "200"},
		{newFake(), "post", "/session/mark", "/session/mark", "{}", logged, "200"},
		{newFake(), "post", "/session/pause", "/session/pause", "{}", logged, "200"},
		{newFake(), "post", "/session/resume", "/session/resume", "{}", logged, "200"},
		{newFake(), "post", "/session/stop", "/session/stop", "{}", logged, "202"},
		{newFake(), "post", "/session/answer", "/session/answer", `{"yes":true}`, logged, "200"},
		{running, "post", "/session/prompt", "/session/prompt", `{"text":"请出示证件"}`, logged, "200"},
		{running, "get", "/state", "/state", "", logged, "200"},
		{newFake(), "post", "/session/prompt", "/session/prompt", `{}`, logged, "400"},
		{newFake(), "post", "/session/seen", "/session/seen", `{}`, logged, "200"},
		{pickingFake(), "get", "/choices", "/choices", "", logged, "200"},
		{newFake(), "get", "/choices", "/choices", "", "Remote: 192.0.2.7", "401"},
		{newFake(), "post", "/not-recorded", "/not-recorded", `{"why":"secret","reason":"涉及国家秘密","who":"王某"}`, logged, "201"},
		{newFake(), "post", "/not-recorded", "/not-recorded", `{"why":"secret","who":"王某"}`, logged, "400"},
		{newFake(), "get", "/not-recorded", "/not-recorded", "", logged, "200"},
		{newFake(), "get", "/not-recorded", "/not-recorded", "", "X: y", "401"},
		{newFake(), "post", "/sessions/{id}/details", one[len("/api/v1"):] + "/details", `{"case":"12"}`, logged, "201"},
		{newFake(), "post", "/sessions/{id}/details", one[len("/api/v1"):] + "/details", `{"why":"x"}`, logged, "400"},
		{newFake(), "post", "/sessions/{id}/refused", one[len("/api/v1"):] + "/refused", `{"party":"张某","reason":"不认可"}`, logged, "201"},
		{newFake(), "post", "/sessions/{id}/attachments", one[len("/api/v1"):] + "/attachments?name=x&kind=record", `{}`, logged, "415"},
		{newFake(), "get", "/sessions/{id}/attachments/{sha256}", one[len("/api/v1"):] + "/attachments/00", "", logged, "404"},
		{newFake(), "get", "/sessions", "/sessions", "", logged, "200"},
		{newFake(), "get", "/sessions", "/sessions?limit=x", "", logged, "400"},
		{newFake(), "get", "/sessions/{id}", one[len("/api/v1"):], "", logged, "200"},
		{newFake(), "get", "/sessions/{id}", "/sessions/nope", "", logged, "404"},
		{newFake(), "get", "/sessions/{id}/media/{channel}", one[len("/api/v1"):] + "/media/face", "", logged, "200"},
		{newFake(), "get", "/sessions/{id}/media/{channel}/{n}", one[len("/api/v1"):] + "/media/face/9", "", logged, "404"},
		{newFake(), "get", "/sessions/{id}/bundle", one[len("/api/v1"):] + "/bundle", "", logged, "404"},
		{newFake(), "post", "/sessions/{id}/verify", one[len("/api/v1"):] + "/verify", "", logged, "200"},
		{newFake(), "get", "/keeping", "/keeping", "", logged, "200"},
		{newFake(), "post", "/keeping/holds", "/keeping/holds", `{"case":"x","reason":"y"}`, logged, "201"},
		{newFake(), "post", "/keeping/appraisals/{id}", "/keeping/appraisals/zz", `{"give":true}`, logged, "404"},
		{newFake(), "get", "/sessions/{id}/hearing", one[len("/api/v1"):] + "/hearing", "", logged, "200"},
		{newFake(), "get", "/access/grants", "/access/grants", "", logged, "200"},
		{newFake(), "post", "/access/grants", "/access/grants", `{"session":"20261123T060509Z-0badcafe","do":["play"],"purpose":"复核"}`, logged, "201"},
		{newFake(), "post", "/access/grants/{id}/answer", "/access/grants/1/answer", `{"give":true}`, logged, "200"},
		{newFake(), "post", "/access/grants/{id}/end", "/access/grants/1/end", `{"why":"x"}`, logged, "200"},
		{newFake(), "post", "/access/grants/{id}/receipt", "/access/grants/1/receipt", `{"medium":"x","signed":"y"}`, logged, "200"},
		{newFake(), "get", "/access/register", "/access/register", "", logged, "200"},
		{newFake(), "post", "/login", "/login", `{"name":"王某","password":"correct horse"}`, logged, "200"},
		{newFake(), "post", "/login", "/login", `{"name":"王某","password":"x"}`, logged, "401"},
		{newFake(), "get", "/login", "/login", "", logged, "200"},
	} {
		w := call(newServer(t, tt.f, withKeeping(tt.f), withGrants(tt.f)), strings.ToUpper(tt.method), "/api/v1"+tt.url, tt.body, tt.hdr)
		ref := d.ref(t, tt.path, tt.method, tt.status)
		if ref == "" {
			t.Errorf("%s %s: no schema for %s", tt.method, tt.path, tt.status)
			continue
		}
		schema, err := c.Compile("mem:openapi.json" + ref)
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(w.Body)
		if err == nil {
			err = schema.Validate(v)
		}
		if got := strings.TrimSpace(strings.TrimPrefix(w.Result().Status, tt.status)); err != nil || got == w.Result().Status {
			t.Errorf("%s %s = %d: %v", tt.method, tt.url, w.Code, err)
		}
	}
}

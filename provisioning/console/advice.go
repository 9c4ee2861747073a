package console

import (
	"minglu/agent/report"
	"minglu/provisioning/fleet"
)

type remedy struct {
	Zh string `json:"zh"`
	En string `json:"en"`
}

// detail is a room with what to do about each item that fails, by "item subject".
type detail struct {
	fleet.Detail
	Do map[string]remedy `json:"do"`
}

func advise(d fleet.Detail) detail {
	out := detail{d, map[string]remedy{}}
	if d.Compliance == nil {
		return out
	}
	for _, it := range d.Compliance.Items {
		if do := report.Advice(it.Item).In(it.Subject); do.Zh != "" && it.Verdict == report.Fail {
			out.Do[it.Item+" "+it.Subject] = remedy{do.Zh, do.En}
		}
	}
	return out
}

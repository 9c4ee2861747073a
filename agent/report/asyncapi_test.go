package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/goccy/go-yaml"
)

// TestAsyncAPISaysWhatTheCodeDoes compares docs/asyncapi.yaml with topics, directions and schemas.
func TestAsyncAPISaysWhatTheCodeDoes(t *testing.T) {
	const file = "../../docs/asyncapi.yaml"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	type ref struct {
		Ref string `yaml:"$ref"`
	}
	var doc struct {
		AsyncAPI string `yaml:"asyncapi"`
		Channels map[Kind]struct {
			Address    string
			Parameters map[string]any
			Messages   map[Kind]ref
		}
		Operations map[string]struct {
			Action   string
			Channel  ref
			Bindings struct {
				MQTT struct {
					QoS    int `yaml:"qos"`
					Retain bool
				} `yaml:"mqtt"`
			}
		}
		Components struct {
			Messages map[Kind]struct {
				Title   string
				Payload struct {
					SchemaFormat string `yaml:"schemaFormat"`
					Schema       ref
				}
			}
		}
	}
	if err := yaml.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	ways := 1 // timestamp goes both ways
	if doc.AsyncAPI != "3.0.0" || len(doc.Channels) != len(Kinds()) || len(doc.Operations) != len(Kinds())+ways || len(doc.Components.Messages) != len(Kinds()) {
		t.Errorf("AsyncAPI %s with %d channels, %d operations, %d messages; want 3.0.0 with %d each", doc.AsyncAPI, len(doc.Channels), len(doc.Operations), len(doc.Components.Messages), len(Kinds()))
	}
	operation := map[string]map[string]bool{} // by channel
	for name, o := range doc.Operations {
		if operation[o.Channel.Ref] == nil {
			operation[o.Channel.Ref] = map[string]bool{}
		}
		operation[o.Channel.Ref][o.Action] = true
		if o.Bindings.MQTT.QoS != 1 || o.Bindings.MQTT.Retain != (o.Channel.Ref == "#/channels/state") {
			t.Errorf("%s: %+v: want QoS 1, and only state retained", name, o.Bindings.MQTT)
		}
	}
	for _, k := range Kinds() {
		ch := doc.Channels[k]
		if want := topicRoot + "{device}/" + string(k); ch.Address != want || ch.Parameters["device"] == nil {
			t.Errorf("%s: address %q, want %q with its parameter", k, ch.Address, want)
		}
		if len(ch.Messages) != 1 || ch.Messages[k].Ref != "#/components/messages/"+string(k) {
			t.Errorf("%s: messages %v", k, ch.Messages)
		}
		if got := operation["#/channels/"+string(k)]; got["send"] != k.FromDevice() || got["receive"] != k.ToDevice() {
			t.Errorf("%s: actions %v", k, got)
		}
		m := doc.Components.Messages[k]
		schema, err := os.ReadFile(filepath.Join(filepath.Dir(file), m.Payload.Schema.Ref))
		if err != nil || !bytes.Equal(schema, Schema(k)) || m.Payload.SchemaFormat != "application/schema+json;version=draft-2020-12" {
			t.Errorf("%s: payload %+v is not its schema: %v", k, m.Payload, err)
		}
		var s struct{ Title string }
		if err := json.Unmarshal(schema, &s); err != nil || s.Title != m.Title {
			t.Errorf("%s: title %q, the schema's is %q", k, m.Title, s.Title)
		}
	}
}

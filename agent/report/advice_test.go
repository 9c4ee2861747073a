package report

import "testing"

func TestAdviceIsThereForEachItem(t *testing.T) {
	for _, tt := range []struct{ rule, item, en string }{
		{"an item of its own", "camera.fps", "Set the camera to 25 frames per second; turn off slow shutter in poor light"},
		{"an item of a group", "board.temperature", "Clear the air vents"},
		{"an item nobody knows yet", "x.y", "Let the equipment manager look into it"},
	} {
		if got := Advice(tt.item); got.En != tt.en || got.Zh == "" {
			t.Errorf("%s: Advice(%q) = %+v", tt.rule, tt.item, got)
		}
	}
	for item, a := range advice {
		if a.Zh == "" || a.En == "" {
			t.Errorf("advice for %q lacks a language", item)
		}
	}
}

package config

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

// TestCommandShowsNoSecret: what is hidden, and that nothing else is.
func TestCommandShowsNoSecret(t *testing.T) {
	for _, tt := range []struct {
		rule     string
		in, want Command
	}{
		{"a login in an address", Command{"ffmpeg", "-i", "rtsp://admin:hunter2@192.0.2.1/1"}, Command{"ffmpeg", "-i", "rtsp://xxxxx@192.0.2.1/1"}},
		{"a password with an @", Command{"rtsp://admin:hunter2@hunter2@cam/1?x=a@b"}, Command{"rtsp://xxxxx@cam/1?x=a@b"}},
		{"in the middle of a word", Command{"movie=rtsp://a:hunter2@cam/1,scale=640:360"}, Command{"movie=rtsp://xxxxx@cam/1,scale=640:360"}},
		{"in the query", Command{"srt://cam:9000?passphrase=hunter2&mode=caller"}, Command{"srt://cam:9000?passphrase=xxxxx&mode=caller"}},
		{"as GStreamer writes it", Command{"rtspsrc", "user-id=admin", "user-pw=hunter2", "location=rtsp://cam/1"}, Command{"rtspsrc", "user-id=admin", "user-pw=xxxxx", "location=rtsp://cam/1"}},
		{"after its option", Command{"ffmpeg", "-headers", "X-Door: hunter2", "-decryption_key", "hunter2", "--password", "hunter2", "-y"}, Command{"ffmpeg", "-headers", "xxxxx", "-decryption_key", "xxxxx", "--password", "xxxxx", "-y"}},
		{"a header", Command{`extra="Authorization: Basic hunter2"`}, Command{`extra="Authorization:xxxxx`}},
		{"and nothing else", Command{"ffmpeg", "-force_key_frames", "expr:gte(t,n_forced*1)", "-x264-params", "keyint=25:min-keyint=25", "-g", "25", "-vf", "drawtext=textfile={overlay}:x=8"},
			Command{"ffmpeg", "-force_key_frames", "expr:gte(t,n_forced*1)", "-x264-params", "keyint=25:min-keyint=25", "-g", "25", "-vf", "drawtext=textfile={overlay}:x=8"}},
	} {
		if got := tt.in.shown(); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.rule, got, tt.want)
		}
		if !slices.Equal(tt.in.Reveal(), tt.in) {
			t.Errorf("%s: Reveal() = %q", tt.rule, tt.in.Reveal())
		}
		p := CameraPipeline{Command: tt.in}
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("", "command", tt.in)
		for _, shown := range []string{fmt.Sprintf("%v %+v %#v %s %q", tt.in, p, p, tt.in, tt.in), log.String()} {
			if strings.Contains(shown, "hunter2") {
				t.Errorf("%s: %s", tt.rule, shown)
			}
		}
	}
}

// TestDigestFollowsCommand: each word of a pipeline counts, its secrets do not.
func TestDigestFollowsCommand(t *testing.T) {
	digest := func(name, words string) string {
		t.Helper()
		c, err := Parse("agent.yaml", []byte(swap("  - ", "  - {id: face, camera: {pipeline: {name: "+name+", command: ["+words+"]}}}")))
		if err != nil {
			t.Fatal(err)
		}
		if s := c.String(); strings.Contains(s, "hunter2") || !strings.Contains(s, name) {
			t.Errorf("the settings are %s", s)
		}
		return c.Digest()
	}
	first := digest("generic-x264", `ffmpeg, -i, "rtsp://a:hunter2@cam/1", -preset, veryfast`)
	for _, other := range []string{
		digest("generic-x265", `ffmpeg, -i, "rtsp://a:hunter2@cam/1", -preset, veryfast`),
		digest("generic-x264", `ffmpeg, -i, "rtsp://a:hunter2@cam/1", -preset, slow`),
		digest("generic-x264", `ffmpeg, -i, "rtsp://a:hunter2@cam/2", -preset, veryfast`),
		digest("generic-x264", `avconv, -i, "rtsp://a:hunter2@cam/1", -preset, veryfast`),
		digest("generic-x264", `ffmpeg, -i, "rtsp://a:hunter2@cam/1", "-preset veryfast"`),
	} {
		if other == first {
			t.Error("another command, the same digest")
		}
	}
	if digest("generic-x264", `ffmpeg, -i, "rtsp://a:other@cam/1", -preset, veryfast`) != first {
		t.Error("the digest depends on a password")
	}
}

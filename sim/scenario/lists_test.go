package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// importLists brings a CSV file to the office as its page does: a preview, then what it showed.
func (o *Office) importLists(csv string) {
	o.t.Helper()
	send := func(query string) (answer struct {
		Token    string
		Wrong    int
		Mistakes []struct{ En string }
	}) {
		res, err := http.Post(o.base+"/api/v1/lists/import?"+query, "application/octet-stream", bytes.NewReader([]byte(csv)))
		if err != nil {
			o.t.Fatal(err)
		}
		defer res.Body.Close()
		if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || res.StatusCode != http.StatusOK || answer.Wrong > 0 {
			o.t.Fatalf("import: %s %v %+v", res.Status, err, answer)
		}
		return answer
	}
	send("do=apply&name=x.csv&token=" + url.QueryEscape(send("do=preview").Token))
}

// delivered tells whether the office knows a room to hold its newest lists, and which version that is.
func (o *Office) delivered(device string) (done bool, version string) {
	var a struct {
		Deliveries []struct {
			Device, Held string
			Done         bool
		}
	}
	if err := o.get("/lists/deliveries", &a); err != nil {
		return false, ""
	}
	for _, d := range a.Deliveries {
		if d.Device == device {
			return d.Done, d.Held
		}
	}
	return false, ""
}

// TestListsReachARoom: what is imported at the office is in the room within seconds and the office knows; a room that
// was away or killed gets it later and keeps it; a room without a network takes it as a file.
func TestListsReachARoom(t *testing.T) {
	t.Parallel()
	const room, body = "room-lists", "11999900MB0000001K"
	office := lab.Office(t, room)
	disks := Disks(t, 2, 500)
	a := lab.Start(t, Room{Name: room, Channels: map[string]string{"voice": SimMicrophone}, Disks: []string{disks[0].Dir, disks[1].Dir}, Preroll: "1s", Postroll: "0s", Extra: office.Reports(room)})
	a.WaitLive(20 * time.Second)
	held := filepath.Join(a.Dir, "state", "lists.json")
	names := func() (list []string) {
		b, err := os.ReadFile(held)
		if err != nil {
			return nil
		}
		var l struct{ Officers []struct{ Name string } }
		if err := json.Unmarshal(b, &l); err != nil {
			t.Fatal(err)
		}
		for _, o := range l.Officers {
			list = append(list, o.Name)
		}
		return list
	}
	office.importLists("单位名称,统一社会信用代码\n某局," + body + "\n")
	office.importLists("设备名称,使用单位\n" + room + "," + body + "\n")
	began := time.Now()
	office.importLists("姓名,证号,单位代码\n䶮某,1," + body + "\n")
	Wait(t, 30*time.Second, "the room holds its lists and the office knows", func() bool { done, _ := office.delivered(room); return done && len(names()) == 1 })
	t.Logf("from import to acknowledgement: %v", time.Since(began).Round(100*time.Millisecond))
	if got := fmt.Sprint(names()); got != "[䶮某]" {
		t.Errorf("the room holds %s", got)
	}

	_, first := office.delivered(room)
	a.Kill()
	office.importLists("姓名,证号,单位代码\n李某,2," + body + "\n")
	if got := fmt.Sprint(names()); got != "[䶮某]" {
		t.Errorf("after a kill the room holds %s", got)
	}
	a.Restart()
	Wait(t, 40*time.Second, "the room that was away holds the newer ones", func() bool {
		done, version := office.delivered(room)
		return done && version != first && len(names()) == 2
	})

	file := filepath.Join(t.TempDir(), "lists.json")
	run(t, lab.Serve, "lists", "export", room, "--config", office.Config, "--to", file)
	if err := os.Remove(held); err != nil {
		t.Fatal(err)
	}
	if out, _ := run(t, lab.Agent, "lists", "import", file, "--config", a.Config); len(names()) != 2 {
		t.Errorf("lists import: %s, the room holds %v", out, names())
	}
	if code := a.Stop(); code != 0 {
		t.Errorf("the agent ended with %d", code)
	}
}

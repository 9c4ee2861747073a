package store

import (
	"testing"
	"time"

	"minglu/agent/evidence"
)

// TestKept: how a session is kept outlives its row being written anew, and a destroyed one tells of no person.
func TestKept(t *testing.T) {
	s := openTest(t)
	ctx := t.Context()
	row := Session{ID: "20260301T013000Z-0123abcd", Case: "1号", State: Sealed, Bytes: 7, Officers: []evidence.Officer{{Name: "王某", Credential: "001"}}, Flags: []string{"minor"}}
	want := Kept{Archive: Archived{Where: "s3", At: time.Unix(5, 0).UTC(), Receipt: "ab"}, Hold: &Hold{ID: "h", By: "张某", Reason: "复议"}, Until: "2026-09-01"}
	if err := s.SetKept(ctx, row.ID, want); err != nil { // before there is a row: it may come later
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Put(ctx, row); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Get(ctx, row.ID)
	if err != nil || got.Kept.Archive != want.Archive || got.Kept.Hold == nil || *got.Kept.Hold != *want.Hold || got.Kept.Until != want.Until {
		t.Errorf("Get() keeps %+v, %v; want %+v", got.Kept, err, want)
	}
	if err := s.SetKept(ctx, row.ID, Kept{Gone: Destroyed}); err != nil {
		t.Fatal(err)
	}
	if err := s.Strip(ctx, row.ID); err != nil {
		t.Fatal(err)
	}
	if got, err = s.Get(ctx, row.ID); err != nil || len(got.Officers)+len(got.Flags) != 0 || got.Case != "1号" || got.Bytes != 7 || got.Kept.Gone != Destroyed {
		t.Errorf("a destroyed session is %+v, %v", got, err)
	}
	if found, err := s.List(ctx, Filter{Text: "王某"}, 0, 0); err != nil || len(found) != 0 {
		t.Errorf("it is still found by its officer: %d, %v", len(found), err)
	}
	if err := s.Strip(ctx, "20260301T013000Z-0123abce"); err != nil {
		t.Errorf("a session without a row: %v", err)
	}
}

package evidence

import (
	"reflect"
	"testing"
)

// allLines has one of each line struct.
var allLines = []any{
	Open{Disks: []string{"a", "b"}}, Details{Officers: []Officer{{"王", "1"}}, Flags: []string{"drill"}}, SegmentOpen{Codec: []string{"avc1.640028"}},
	Fragment{Samples: []int64{1, 2}}, SegmentClose{}, Gap{}, Pause{}, Clock{}, Mark{}, Event{Data: map[string]string{"k": "v"}}, Event{},
	Close{Fragments: map[string]int64{"face": 3}}, Seal{}, Sign{}, Anchor{}, Recovery{Present: []string{"a"}}, Aside{},
	Generation{}, Generation{Prev: &LedgerRef{Origin: "o"}}, Boot{}, LedgerClock{}, Key{}, Config{}, Disks{}, Head{}, Sealed{}, Token{},
	Cosig{}, AmendRef{}, AccessRef{}, Archived{}, Destroy{}, LostTail{}, Adopt{},
}

func TestTypeOf(t *testing.T) {
	several := map[string]bool{"Pause": true, "Event": true, "Destroy": true, "Sign": true}
	for _, v := range allLines {
		p := reflect.New(reflect.TypeOf(v))
		p.Elem().Set(reflect.ValueOf(v))
		got := TypeOf(v)
		if (got == "") != several[reflect.TypeOf(v).Name()] || TypeOf(p.Interface()) != got {
			t.Errorf("TypeOf(%T) = %q, of a pointer %q", v, got, TypeOf(p.Interface()))
		}
	}
}

package sim

import (
	"testing"
	"testing/synctest"
	"time"

	"minglu/drivers"
	"minglu/drivers/driverstest"
)

// TestCameraIsACamera: the simulated camera does what every camera must.
func TestCameraIsACamera(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, uptime, _ := room(t)
		driverstest.Camera(t, driverstest.CameraOptions{Camera: r.Camera("face"), Uptime: uptime, Pictures: 60, Within: 10 * time.Second})
	})
}

// TestRoomConformance: lamp, inputs and thermometer do what those of a real room must.
func TestRoomConformance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, uptime, _ := room(t)
		driverstest.Lamp(t, driverstest.LampOptions{Lamp: r.Lamp(), Shows: func(s drivers.LampState) bool {
			shown := r.Lamp().Changes()
			return shown[len(shown)-1].State == s
		}})
		driverstest.Thermometer(t, driverstest.ThermometerOptions{Thermometer: r.Thermometer(), Uptime: uptime})
	})
	for _, kind := range []drivers.InputKind{drivers.Button, drivers.Door, drivers.Presence} {
		synctest.Test(t, func(t *testing.T) {
			r, uptime, _ := room(t)
			driverstest.Input(t, driverstest.InputOptions{Input: r.Input(kind), Kind: kind, Uptime: uptime, Set: func(on bool) {
				if err := r.SetInput(kind, on); err != nil {
					t.Error(err)
				}
			}})
		})
	}
}

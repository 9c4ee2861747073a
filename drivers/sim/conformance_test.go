package sim

import (
	"testing"
	"testing/synctest"
	"time"

	"minglu/drivers/driverstest"
)

// TestCameraIsACamera: the simulated camera does what every camera must.
func TestCameraIsACamera(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, uptime, _ := room(t)
		driverstest.Camera(t, driverstest.CameraOptions{Camera: r.Camera("face"), Uptime: uptime, Pictures: 60, Within: 10 * time.Second})
	})
}

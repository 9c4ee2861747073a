package scenario

import (
	"os"
	"syscall"
	"testing"
)

func removeFile(t *testing.T, name string) {
	if err := os.Remove(name); err != nil {
		t.Error(err)
	}
}

// signal stops a publisher for a while, or lets it go on.
func (p *Publisher) signal(t *testing.T, sig syscall.Signal) {
	if err := p.p.cmd.Process.Signal(sig); err != nil {
		t.Error(err)
	}
}

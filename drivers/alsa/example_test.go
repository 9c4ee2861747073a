package alsa_test

import (
	"context"
	"fmt"
	"time"

	"minglu/drivers"
	"minglu/drivers/alsa"
)

var began = time.Now()

// uptime stands for the time since boot, CLOCK_BOOTTIME.
func uptime() time.Duration { return time.Since(began) }

type printer struct{}

func (printer) Open(d drivers.Description)        { fmt.Println(d.Identity) }
func (printer) Sample(s drivers.Sample)           { fmt.Println(s.PTS, s.Arrival, len(s.Data)) }
func (printer) SenderReport(drivers.SenderReport) {}
func (printer) Lost(_, n int, cause string)       { fmt.Println(n, "PCM frames lost:", cause) }

// Two seats at one sound card with two inputs.
func Example() {
	card, err := alsa.NewCard(alsa.CardOptions{Name: "usb:1-1.4", Uptime: uptime})
	if err != nil {
		panic(err)
	}
	officer, err := card.Microphone(alsa.Seat{Channels: []int{1}, Gain: 70})
	if err != nil {
		panic(err)
	}
	party, err := card.Microphone(alsa.Seat{Channels: []int{2}, Gain: 85})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	go officer.Run(ctx, printer{})
	fmt.Println(party.Run(ctx, printer{})) // a missing card, or why ctx ended
}

func ExampleSpeaker() {
	s, err := alsa.NewSpeaker(alsa.SpeakerOptions{Name: "hw:CARD=Headphones", Volume: 60})
	if err != nil {
		panic(err)
	}
	fmt.Println(s.Play(context.Background(), []byte("RIFF…"))) // a WAV file
}

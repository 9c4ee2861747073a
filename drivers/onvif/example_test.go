package onvif_test

import (
	"context"
	"fmt"
	"time"

	"minglu/drivers/onvif"
)

func Example() {
	ctx := context.Background()
	found, err := onvif.Discover(ctx, onvif.Discovery{})
	if err != nil {
		fmt.Println(err)
	}
	for _, f := range found {
		c, err := onvif.New(onvif.Options{Address: f.Service, User: "admin", Password: "secret", Now: time.Now})
		if err != nil {
			continue
		}
		profiles, err := c.Profiles(ctx)
		if err != nil {
			fmt.Println(f.Name, err)
			continue
		}
		stream, err := c.Stream(ctx, profiles[0].Token)
		fmt.Println(f.Name, stream, err)
	}
}

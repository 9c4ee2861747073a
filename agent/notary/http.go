package notary

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// nameOf is an address as the log may show it: passwords stand before the host, keys in the query.
func nameOf(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// HTTPAuthority is an authority at an address (RFC 3161 3.4). A user and password in it are sent, and never told.
func HTTPAuthority(address string, client *http.Client) (Authority, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return Authority{}, errors.New("notary: the address of a time-stamping authority is no URL") // it may hold a password
	}
	return Authority{Name: nameOf(u), Ask: func(ctx context.Context, request []byte) ([]byte, error) {
		status, kind, body, err := post(ctx, client, address, "application/timestamp-query", request)
		switch {
		case err != nil:
			return nil, err
		case status != http.StatusOK:
			return nil, fmt.Errorf("it answers %d %s", status, http.StatusText(status))
		case !strings.HasPrefix(kind, "application/timestamp-reply"):
			return nil, fmt.Errorf("it answers with %.80q, not with application/timestamp-reply: is the address right?", kind)
		}
		return body, nil
	}}, nil
}

// HTTPWitness is a witness at an address, to which add-checkpoint is added (C2SP tlog-witness).
func HTTPWitness(address string, client *http.Client) (WitnessAt, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return WitnessAt{}, errors.New("notary: the address of a witness is no URL")
	}
	to := u.JoinPath("add-checkpoint").String()
	return WitnessAt{Name: nameOf(u), Add: func(ctx context.Context, body []byte) (int, string, []byte, error) {
		return post(ctx, client, to, "text/plain; charset=utf-8", body)
	}}, nil
}

func post(ctx context.Context, client *http.Client, to, kind string, body []byte) (status int, answered string, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return 0, "", nil, errors.New("the address is no URL")
	}
	req.Header.Set("Content-Type", kind)
	res, err := client.Do(req)
	if why := (*url.Error)(nil); errors.As(err, &why) { // it quotes the address with its query
		return 0, "", nil, why.Err
	}
	if err != nil {
		return 0, "", nil, err
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(res.Body, maxReply+1))
	if err == nil && len(answer) > maxReply {
		err = fmt.Errorf("the answer has more than %d bytes", maxReply)
	}
	return res.StatusCode, res.Header.Get("Content-Type"), answer, err
}

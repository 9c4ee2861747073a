package evidence

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// OutsideProof is one outsider's word that a checkpoint existed at a time.
type OutsideProof struct {
	Time   time.Time
	By     string // the authority's or witness's name
	Own    bool   // a witness of the body itself
	Cosig  bool   // a witness's cosignature; else a time-stamping authority's token
	SHA256 string // of the token or cosignature line, as log lines name it
}

// Token verifies an RFC 3161 response as [VerifyToken] does with the authorities of the trust folder,
// and refuses one whose certificate was revoked by the token's time ([ErrUntrusted]); a revocation
// after it changes nothing. A nil Trust trusts nobody.
func (t *Trust) Token(der []byte, imprint [32]byte) (TokenInfo, error) {
	var roots []*x509.Certificate
	if t != nil {
		roots = t.TSA
	}
	info, err := VerifyToken(der, imprint, roots)
	if err != nil {
		return info, err
	}
	if err := t.revoked(info.Chain, info.Time); err != nil {
		info.Chain = nil
		return info, fmt.Errorf("timestamp of %s by %q: %w: %w", info.Time.Format(time.RFC3339), info.TSA, ErrUntrusted, err)
	}
	return info, nil
}

// Outside returns what trusted outsiders say of the anchor's checkpoint. What cannot be judged with
// this trust is told in notes; what is false for everybody is an error. The device's own signature
// over the checkpoint is for the caller to check ([Checkpoint.Verify]).
func (t *Trust) Outside(a *AnchorFile) (proofs []OutsideProof, notes []string, err error) {
	if len(a.Token) > 0 {
		info, err := t.Token(a.Token, a.Checkpoint.Imprint())
		switch {
		case errors.Is(err, ErrUntrusted):
			notes = append(notes, err.Error())
		case err != nil:
			return nil, nil, err
		default:
			proofs = append(proofs, OutsideProof{Time: info.Time, By: info.TSA, SHA256: info.SHA256})
		}
	}
	for _, line := range a.Cosignatures {
		p, err := t.cosignature(a.Checkpoint.Text(), line)
		switch {
		case errors.Is(err, ErrUntrusted):
			notes = append(notes, err.Error())
		case err != nil:
			return nil, nil, err
		default:
			proofs = append(proofs, p)
		}
	}
	return proofs, notes, nil
}

// cosignature verifies a cosignature line with the key of the witness it claims.
func (t *Trust) cosignature(text []byte, line string) (OutsideProof, error) {
	c, err := ParseCosignature(line)
	if err != nil {
		return OutsideProof{}, err
	}
	if t != nil {
		claimed := slices.DeleteFunc(slices.Clone(t.Witnesses), func(w Witness) bool { return w.Name != c.Witness && w.ID() != c.ID })
		for i, w := range claimed {
			at, err := w.Verify(text, line)
			if err == nil {
				return OutsideProof{Time: at, By: w.Name, Own: w.Own, Cosig: true, SHA256: c.SHA256()}, nil
			}
			if i == len(claimed)-1 {
				return OutsideProof{}, err
			}
		}
	}
	return OutsideProof{}, fmt.Errorf("cosignature of %s: %w: its key is not in the trust folder's witness/", c.Witness, ErrUntrusted)
}

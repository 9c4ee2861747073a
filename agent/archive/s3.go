package archive

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// partSize of an upload in parts: what a cut may cost, and the least that S3 allows is 5 MiB.
const partSize = 16 << 20

// S3 is a bucket of an S3-compatible store. A file over 16 MiB is sent in parts, each signed with its SHA-256,
// which the store checks; a cut costs one part. Every object is read back once it stands.
type S3 struct {
	core      *minio.Core
	transport *http.Transport
	host      string
	bucket    string
	prefix    string
}

// NewS3 takes https://KEY:SECRET@HOST/BUCKET/PREFIX. region may be empty; t says whom to believe, nil: the system.
func NewS3(address, region string, t *tls.Config) (*S3, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User == nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("archive: s3: want https://KEY:SECRET@HOST/BUCKET/PREFIX")
	}
	bucket, prefix, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	secret, _ := u.User.Password()
	if bucket == "" || u.User.Username() == "" || secret == "" {
		return nil, errors.New("archive: s3: bucket, key or secret is missing: want https://KEY:SECRET@HOST/BUCKET/PREFIX")
	}
	tr := transport(t)
	core, err := minio.NewCore(u.Host, &minio.Options{Creds: credentials.NewStaticV4(u.User.Username(), secret, ""), Secure: u.Scheme == "https",
		Region: region, BucketLookup: minio.BucketLookupPath, Transport: tr, MaxRetries: 1})
	if err != nil {
		return nil, fmt.Errorf("archive: s3: %w", err)
	}
	return &S3{core: core, transport: tr, host: u.Host, bucket: bucket, prefix: prefix}, nil
}

// Where implements Target.
func (s *S3) Where() string { return "s3 " + s.host + "/" + path.Join(s.bucket, s.prefix) }

func (s *S3) key(p string) string { return path.Join(s.prefix, p) }

// parts is how far an upload in parts is.
type parts struct {
	ID    string               `json:"id"`
	Parts []minio.CompletePart `json:"parts"`
}

// Put implements Target.
func (s *S3) Put(ctx context.Context, u Upload, pace func(int) error) error {
	var err error
	if u.Size <= partSize {
		err = s.whole(ctx, u, pace)
	} else {
		err = s.inParts(ctx, u, pace)
	}
	if err != nil {
		return ofS3(err)
	}
	o, _, _, err := s.core.GetObject(ctx, s.bucket, s.key(u.Path), minio.GetObjectOptions{})
	if err != nil {
		return ofS3(err)
	}
	defer o.Close()
	return ofS3(compare(o, u, pace))
}

func (s *S3) whole(ctx context.Context, u Upload, pace func(int) error) error {
	r, sum, err := section(u, 0, u.Size, pace)
	if err != nil {
		return err
	}
	_, err = s.core.PutObject(ctx, s.bucket, s.key(u.Path), r, u.Size, "", sum, minio.PutObjectOptions{DisableContentSha256: true})
	return err
}

func (s *S3) inParts(ctx context.Context, u Upload, pace func(int) error) error {
	var p parts
	if u.Resume != nil && json.Unmarshal(u.Resume, &p) != nil {
		p = parts{}
	}
	if p.ID != "" {
		if _, err := s.core.ListObjectParts(ctx, s.bucket, s.key(u.Path), p.ID, 0, 1); err != nil {
			if minio.ToErrorResponse(err).Code != "NoSuchUpload" {
				return err
			}
			p = parts{} // the store forgot it
		}
	}
	if p.ID == "" {
		id, err := s.core.NewMultipartUpload(ctx, s.bucket, s.key(u.Path), minio.PutObjectOptions{})
		if err != nil {
			return err
		}
		p = parts{ID: id}
		if err := s.note(u, p); err != nil {
			return err
		}
	}
	for off := int64(len(p.Parts)) * partSize; off < u.Size; off += partSize {
		n := min(partSize, u.Size-off)
		r, sum, err := section(u, off, n, pace)
		if err != nil {
			return err
		}
		part, err := s.core.PutObjectPart(ctx, s.bucket, s.key(u.Path), p.ID, len(p.Parts)+1, r, n, minio.PutObjectPartOptions{Sha256Hex: sum, DisableContentSha256: true})
		if err != nil {
			return err
		}
		p.Parts = append(p.Parts, minio.CompletePart{PartNumber: part.PartNumber, ETag: part.ETag})
		if err := s.note(u, p); err != nil {
			return err
		}
	}
	_, err := s.core.CompleteMultipartUpload(ctx, s.bucket, s.key(u.Path), p.ID, p.Parts, minio.PutObjectOptions{})
	return err
}

func (s *S3) note(u Upload, p parts) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return u.Save(b)
}

// section gives a part of the file with its digest.
func section(u Upload, off, n int64, pace func(int) error) (io.Reader, string, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(u.Src, off, n)); err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrSource, err)
	}
	return &paced{io.NewSectionReader(u.Src, off, n), pace}, hex.EncodeToString(sum.Sum(nil)), nil
}

// ReadAt keeps to the rate too.
func (p *paced) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.SectionReader.ReadAt(b, off)
	if perr := p.pace(n); perr != nil {
		return n, perr
	}
	return n, err
}

// Holds implements Target.
func (s *S3) Holds(ctx context.Context, p string, size int64) (bool, error) {
	o, err := s.core.StatObject(ctx, s.bucket, s.key(p), minio.StatObjectOptions{})
	if e := minio.ToErrorResponse(err); err != nil && (e.Code == "NoSuchKey" || e.StatusCode == http.StatusNotFound) {
		return false, nil
	}
	if err != nil {
		return false, ofS3(err)
	}
	return o.Size == size, nil
}

// RemoveAll implements Target. Of a bucket that keeps versions every version goes.
func (s *S3) RemoveAll(ctx context.Context, folder string) error {
	prefix := s.key(folder) + "/"
	for u := range s.core.Client.ListIncompleteUploads(ctx, s.bucket, prefix, true) {
		if minio.ToErrorResponse(u.Err).Code == "NoSuchUpload" { // some stores say so where there is none
			break
		}
		if u.Err != nil {
			return ofS3(u.Err)
		}
		if err := s.core.AbortMultipartUpload(ctx, s.bucket, u.Key, u.UploadID); err != nil {
			return ofS3(err)
		}
	}
	for _, versions := range []bool{true, false} { // a store without versions may not know how to list them
		for o := range s.core.Client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true, WithVersions: versions}) {
			if o.Err != nil && versions {
				break
			}
			if o.Err != nil {
				return ofS3(o.Err)
			}
			if err := s.core.RemoveObject(ctx, s.bucket, o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID}); err != nil {
				return ofS3(err)
			}
		}
	}
	return context.Cause(ctx)
}

// ofS3 says what an error means to whoever has to act.
func ofS3(err error) error {
	if err == nil || ProblemOf(err) != "unreachable" || errors.Is(err, errBusy) || errors.Is(err, errWindow) {
		return err
	}
	e := minio.ToErrorResponse(err)
	switch e.Code {
	case "RequestTimeTooSkewed", "RequestExpired":
		return fmt.Errorf("%w: %w", ErrClock, err)
	case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled", "AccountProblem", "NoSuchBucket", "InvalidSecurity", "ExpiredToken":
		return fmt.Errorf("%w: %w", ErrCredentials, err)
	case "XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage", "ServiceQuotaExceeded":
		return fmt.Errorf("%w: %w", ErrFull, err)
	case "XAmzContentSHA256Mismatch", "BadDigest", "InvalidDigest", "InvalidPart":
		return fmt.Errorf("%w: %w", ErrDigest, err)
	}
	switch e.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: %w", ErrCredentials, err)
	case http.StatusInsufficientStorage:
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

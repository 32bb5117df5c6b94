// Ocilayout writes an OCI image layout whose image has nothing but contain and its licence,
// for each architecture given, without a daemon:
//
//	ocilayout DIR VERSION LICENSE amd64=FILE arm64=FILE...
//
// The same arguments and SOURCE_DATE_EPOCH give the same bytes.
// https://github.com/opencontainers/image-spec, version 1.1.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

type object = map[string]any

func main() {
	if len(os.Args) < 5 {
		fail(fmt.Errorf("want DIR VERSION LICENSE ARCH=FILE, perhaps more than one"))
	}
	l := layout{dir: os.Args[1], version: os.Args[2], license: os.Args[3]}
	if err := l.write(os.Args[4:]); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "ocilayout:", err)
	os.Exit(1)
}

type layout struct {
	dir, version, license string
	made                  time.Time
}

func (l *layout) write(images []string) error {
	epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	l.made = time.Unix(epoch, 0).UTC()
	if err := os.MkdirAll(filepath.Join(l.dir, "blobs", "sha256"), 0o755); err != nil {
		return err
	}
	var manifests []object
	for _, image := range images {
		arch, file, ok := strings.Cut(image, "=")
		if !ok {
			return fmt.Errorf("%q is not ARCH=FILE", image)
		}
		m, err := l.image(arch, file)
		if err != nil {
			return fmt.Errorf("%s: %w", image, err)
		}
		manifests = append(manifests, m)
	}
	// One name for all architectures, so that whoever pulls gets his own.
	all, err := l.blob("application/vnd.oci.image.index.v1+json", object{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests,
	})
	if err != nil {
		return err
	}
	all["annotations"] = object{"org.opencontainers.image.ref.name": l.version}
	if err := l.file("index.json", object{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []object{all}}); err != nil {
		return err
	}
	return l.file("oci-layout", object{"imageLayoutVersion": "1.0.0"})
}

// image writes the layer, configuration and manifest of one architecture.
func (l *layout) image(arch, file string) (object, error) {
	plain, err := l.layer(file)
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	layer, err := l.bytes("application/vnd.oci.image.layer.v1.tar+gzip", packed.Bytes())
	if err != nil {
		return nil, err
	}
	config, err := l.blob("application/vnd.oci.image.config.v1+json", object{
		"created": l.made.Format(time.RFC3339), "architecture": arch, "os": "linux",
		"config": object{
			"Entrypoint": []string{"/contain", "run", "--"},
			"Env":        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			"Labels": object{
				"org.opencontainers.image.title":    "contain",
				"org.opencontainers.image.version":  l.version,
				"org.opencontainers.image.licenses": "MIT",
				"org.opencontainers.image.source":   "https://github.com/seed329817d7/contain",
			},
		},
		"rootfs":  object{"type": "layers", "diff_ids": []string{digest(plain)}},
		"history": []object{{"created": l.made.Format(time.RFC3339), "created_by": "contain " + l.version}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := l.blob("application/vnd.oci.image.manifest.v1+json", object{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": []object{layer},
	})
	if err != nil {
		return nil, err
	}
	manifest["platform"] = object{"os": "linux", "architecture": arch}
	return manifest, nil
}

// layer is an archive of contain and its licence.
func (l *layout) layer(file string) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range []struct {
		name, from string
		mode       int64
	}{{"LICENSE", l.license, 0o644}, {"contain", file, 0o755}} {
		content, err := os.ReadFile(f.from)
		if err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(content)), ModTime: l.made, Format: tar.FormatUSTAR}); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// blob writes value and returns its descriptor.
func (l *layout) blob(mediaType string, value object) (object, error) {
	b, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return l.bytes(mediaType, b)
}

func (l *layout) bytes(mediaType string, b []byte) (object, error) {
	sum := digest(b)
	name := filepath.Join(l.dir, "blobs", "sha256", strings.TrimPrefix(sum, "sha256:"))
	return object{"mediaType": mediaType, "digest": sum, "size": len(b)}, os.WriteFile(name, b, 0o644)
}

func (l *layout) file(name string, value object) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(l.dir, name), b, 0o644)
}

func digest(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

//go:build tools

// Package h2spec names the conformance suite of HTTP/2 that tests/run conformance builds, with what it needs pinned to
// versions that Debian's Go can build.
package h2spec

import _ "github.com/summerwind/h2spec/cmd/h2spec"

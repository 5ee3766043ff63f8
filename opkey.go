package batpak

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
)

// OperationKey derives an idempotency key from what makes an operation the one that it is: the domain says which
// operation, the parts on what. No two lists of a domain and parts give the same key, however their bytes are split, so
// that ("a", "bc") and ("ab", "c") stay two operations. Domain and parts are any bytes. The result is the caller's, and
// never longer than a key may be.
//
// Other programs can derive it, too. The key is the netstrings of the domain and of each part: length in bytes as
// decimal digits without leading zeroes, a colon, the bytes, a comma.
//
//	OperationKey("charge", "order:1042", "7")   6:charge,10:order:1042,1:7,
//
// Where that is more than 1,024 bytes, the key is "#" and the SHA-256 of it in lower-case hexadecimal digits.
//
// A batch needs a key for each of its drafts: the index of the draft can be one of the parts.
func OperationKey(domain string, parts ...string) []byte {
	size := netstringLen(domain)
	for _, part := range parts {
		size += netstringLen(part)
	}
	key := appendNetstring(make([]byte, 0, size), domain)
	for _, part := range parts {
		key = appendNetstring(key, part)
	}
	if len(key) <= maxKeyBytes {
		return key
	}
	sum := sha256.Sum256(key)
	return hex.AppendEncode([]byte{'#'}, sum[:])
}

// netstringLen bounds the length of the netstring of s.
func netstringLen(s string) int { return len("9223372036854775807:,") + len(s) }

func appendNetstring(dst []byte, s string) []byte {
	dst = strconv.AppendInt(dst, int64(len(s)), 10)
	dst = append(dst, ':')
	dst = append(dst, s...)
	return append(dst, ',')
}

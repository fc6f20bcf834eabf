//! Splits that every machine makes alike: by a hash of the id, never by order or chance.

/// FNV-1a with 64 bits (Fowler, Noll, Vo) of a text's UTF-8 bytes.
#[must_use]
pub fn fnv1a64(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Which of `folds` parts an id belongs to: (hash div 10) mod `folds`. The last digit stays free for a held-out part.
#[must_use]
pub fn fold(id: &str, folds: u64) -> u64 {
    (fnv1a64(id) / 10) % folds.max(1)
}

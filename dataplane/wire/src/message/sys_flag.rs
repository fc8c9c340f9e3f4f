//! Bits of a message's `sysFlag`.

/// The body is compressed.
pub const COMPRESSED: i32 = 0x1;
/// Several tags.
pub const MULTI_TAGS: i32 = 0x2;
/// Mask of the transaction bits.
pub const TRANSACTION_MASK: i32 = 0xC;
/// Half message.
pub const TRANSACTION_PREPARED: i32 = 0x4;
/// Committed message.
pub const TRANSACTION_COMMIT: i32 = 0x8;
/// Rolled back.
pub const TRANSACTION_ROLLBACK: i32 = 0xC;
/// The producer's address has 16 bytes; set by the broker.
pub const BORN_HOST_V6: i32 = 0x10;
/// The broker's address has 16 bytes; set by the broker.
pub const STORE_HOST_V6: i32 = 0x20;
/// Inner batch that consumers must unwrap; set by the broker.
pub const NEED_UNWRAP: i32 = 0x40;
/// Inner batch; set by the broker.
pub const INNER_BATCH: i32 = 0x80;
/// Mask of the compression type: 0 or 3 zlib, 1 LZ4 frame, 2 zstd.
pub const COMPRESSION_MASK: i32 = 0x700;

/// `flags` with the transaction bits replaced.
#[must_use]
pub fn with_transaction(flags: i32, transaction: i32) -> i32 {
    (flags & !TRANSACTION_MASK) | (transaction & TRANSACTION_MASK)
}

/// The transaction bits.
#[must_use]
pub fn transaction(flags: i32) -> i32 {
    flags & TRANSACTION_MASK
}

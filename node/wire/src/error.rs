//! What can go wrong when bytes become messages, or messages bytes.

use crate::ErrorCode;

/// A message that could not be decoded or encoded.
///
/// Decoding errors say which rule of the protocol the bytes broke; they never depend on how the bytes were
/// split over reads. A server answers most of them with a FAILURE carrying [`WireError::failure_code`], and
/// closes the connection when [`WireError::is_fatal`], because after such an error it no longer knows where the
/// next message starts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The first word of a connection is not a protocol version this codec knows.
    #[error("unknown protocol version {0:#018x} (is this a dqlite client?)")]
    UnknownVersion(u64),
    /// A header announces a body larger than the caller allows.
    #[error("a message body of {len_bytes} bytes exceeds the limit of {limit_bytes} bytes")]
    BodyTooLarge {
        /// The announced length in bytes.
        len_bytes: u64,
        /// The caller's limit in bytes.
        limit_bytes: u64,
    },
    /// The body handed to the decoder is not as long as its header says.
    #[error("a body of {found_bytes} bytes came with a header that says {expected_bytes}")]
    BodyLength {
        /// The length in bytes by the header.
        expected_bytes: u64,
        /// The length in bytes of the body.
        found_bytes: u64,
    },
    /// No request has this type.
    #[error("unrecognized request type {0}")]
    UnknownRequest(u8),
    /// No response has this type.
    #[error("unrecognized response type {0}")]
    UnknownResponse(u8),
    /// The message type exists, but not with this schema.
    #[error("unrecognized schema version {schema} for message type {kind}")]
    UnknownSchema {
        /// The message type of the header.
        kind: u8,
        /// The schema of the header.
        schema: u8,
    },
    /// The request asks for an answer format that does not exist.
    #[error("unrecognized format {0}")]
    UnknownFormat(u64),
    /// The body ends inside a field.
    #[error("the message ends inside {0}")]
    Truncated(&'static str),
    /// A text has no terminating NUL inside the body.
    #[error("a text is not NUL-terminated")]
    UnterminatedText,
    /// A text that must be UTF-8 is not.
    #[error("a text is not UTF-8")]
    InvalidUtf8,
    /// A count is larger than what the rest of the body can hold.
    #[error("a count of {count} {what} does not fit the message")]
    CountTooLarge {
        /// What is counted.
        what: &'static str,
        /// The count as it stands in the message.
        count: u64,
    },
    /// A value carries a type code that the protocol does not have.
    #[error("unknown value type {0}")]
    UnknownValueType(u8),
    /// A role other than voter, standby and spare.
    #[error("unknown role {0}")]
    UnknownRole(u64),
    /// A batch of rows stops without its end word.
    #[error("a batch of rows has no end word")]
    MissingEndWord,
    /// A text to encode holds a NUL, which the protocol has no way to carry.
    #[error("a text with a NUL character cannot be sent; send it as a blob")]
    NulInText,
    /// A row does not have one value per column.
    #[error("a row of {found} values in a result of {expected} columns")]
    RowWidth {
        /// The number of columns.
        expected: usize,
        /// The number of values in the row.
        found: usize,
    },
    /// A message to encode exceeds what the header can express (2^32 - 1 words), or more than 2^32 - 1
    /// parameters are bound.
    #[error("the message is too large for the protocol")]
    TooLarge,
}

impl WireError {
    /// The code that a server puts into the FAILURE answering a request with this error.
    pub fn failure_code(&self) -> ErrorCode {
        match self {
            Self::UnknownVersion(_) | Self::BodyTooLarge { .. } | Self::BodyLength { .. } => {
                ErrorCode::PROTO
            }
            Self::NulInText | Self::RowWidth { .. } => ErrorCode::MISUSE,
            Self::TooLarge => ErrorCode::TOOBIG,
            _ => ErrorCode::PARSE,
        }
    }

    /// Whether the connection is of no use any more: the position of the next message is unknown, or will not
    /// be waited for.
    pub fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::UnknownVersion(_) | Self::BodyTooLarge { .. } | Self::BodyLength { .. }
        )
    }

    /// Whether the error lies in what the caller wanted to send, not in what a peer sent.
    pub fn is_encoding(&self) -> bool {
        matches!(
            self,
            Self::NulInText | Self::RowWidth { .. } | Self::TooLarge
        )
    }
}

//! Frames between nodes: length, checksum, body; `docs/formats-node.md`.
//!
//! Most are small, and several go out together. A few are as large as a chunk of a snapshot: these are neither copied on
//! their way to the socket nor on their way from it, and their memory is [used again](crate::buffers).

use std::io;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::buffers::Buffers;

/// No message is larger: a chunk of the log or of a snapshot, or one large entry.
const MAX_FRAME_BYTES: u32 = 64 << 20;
/// Length and checksum.
pub(crate) const FRAME_HEADER_BYTES: usize = 8;
/// A frame gets so much memory before any of it has come; beyond that, memory grows with what arrives, not with what is
/// announced.
const AT_ONCE_BYTES: usize = 2 << 20;

/// Puts what stands before the body of a frame, which is `head` and then `data`.
///
/// # Errors
/// When the body is longer than any message may be; then nothing is put.
pub(crate) fn put_prefix(out: &mut BytesMut, head: &[u8], data: &[u8]) -> io::Result<()> {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(head);
    checksum.update(data);
    let len = head.len().saturating_add(data.len());
    out.put(prefix(len, checksum.finalize())?);
    Ok(())
}

/// Puts a frame, a small one, behind what there is.
pub(crate) fn put_frame(out: &mut BytesMut, body: &[u8]) -> io::Result<()> {
    put_prefix(out, body, &[])?;
    out.put_slice(body);
    Ok(())
}

fn prefix(len: usize, checksum: u32) -> io::Result<impl Buf> {
    let len = u32::try_from(len)
        .ok()
        .filter(|len| *len <= MAX_FRAME_BYTES)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a message is too long"))?;
    let mut prefix = [0; 8];
    let mut rest = prefix.as_mut_slice();
    rest.put_u32_le(len);
    rest.put_u32_le(checksum);
    Ok(io::Cursor::new(prefix))
}

/// Whether some bytes begin with a whole frame.
pub(crate) fn holds_frame(mut bytes: &[u8]) -> bool {
    let Ok(len) = bytes.try_get_u32_le() else {
        return false;
    };
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    bytes.len() >= len.saturating_add(FRAME_HEADER_BYTES - 4)
}

/// Reads a frame, and returns its body.
pub(crate) async fn read_frame(
    reader: &mut (impl AsyncRead + Unpin),
    buffers: &Arc<Buffers>,
) -> io::Result<Bytes> {
    let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let len = reader.read_u32_le().await?;
    let crc = reader.read_u32_le().await?;
    if len > MAX_FRAME_BYTES {
        return Err(invalid("a frame is longer than any peer sends"));
    }
    let mut body = buffers.take(AT_ONCE_BYTES.min(len as usize));
    let mut limited = reader.take(u64::from(len));
    while limited.limit() > 0 {
        if limited.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    if crc32fast::hash(&body) != crc {
        return Err(invalid("the checksum of a frame is wrong"));
    }
    Ok(buffers.lend(body))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use proptest::prelude::*;
    use tokio::io::BufReader;

    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread();
        { runtime }.build().unwrap().block_on(future)
    }

    fn written(bodies: &[(Vec<u8>, Vec<u8>)]) -> BytesMut {
        let mut out = BytesMut::new();
        for (head, data) in bodies {
            put_prefix(&mut out, head, data).unwrap();
            out.put_slice(head);
            out.put_slice(data);
        }
        out
    }

    proptest! {
        /// Frames come out as they went in, however small the buffers between are.
        #[test]
        fn come_out_as_they_went_in(
            bodies in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..200), prop::collection::vec(any::<u8>(), 0..300)),
                0..8,
            ),
            capacity in 1..300_usize,
        ) {
            run(async {
                let bytes = written(&bodies);
                let mut put = BytesMut::new();
                let buffers = Buffers::new();
                let mut reader = BufReader::with_capacity(capacity, &bytes[..]);
                for (nth, (head, data)) in bodies.iter().enumerate() {
                    assert!(holds_frame(&bytes[put.len()..]), "frame {nth}");
                    let body = [head.as_slice(), data].concat();
                    put_frame(&mut put, &body).unwrap();
                    let read = read_frame(&mut reader, &buffers).await.unwrap();
                    assert_eq!(read, body);
                }
                assert_eq!(put, bytes);
                read_frame(&mut reader, &buffers).await.unwrap_err();
            });
        }
    }

    /// A frame that is larger than what it gets at once comes whole; one bit of it that is another is noticed.
    #[test]
    fn large_and_damaged() {
        run(async {
            let large = vec![5; 3 * AT_ONCE_BYTES / 2];
            let mut bytes = written(&[(vec![1, 2], large.clone())]);
            let buffers = Buffers::new();
            let body = read_frame(&mut &bytes[..], &buffers).await.unwrap();
            assert_eq!(body.slice(2..), large);
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            read_frame(&mut &bytes[..], &buffers).await.unwrap_err();
        });
    }
}

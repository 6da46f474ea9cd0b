//! Segments whose header is damaged: what is around one often tells what it said.

use super::recovery::SegmentFile;
use crate::error::Error;
use crate::record::{HEADER_BYTES, Place, RecordHeader};
use crate::segment::{MAX_FILE_BYTES, RECORDS_AT, SegmentHeader};

/// Takes the headers off segments that begin where, to whoever made the next good one, the log had ended already: they
/// were lost then, and stay so although the next one may have helped to make up a header for them.
pub(super) fn leave_out_unseen(segments: &mut [SegmentFile]) {
    let mut end = None;
    for segment in segments.iter_mut().rev() {
        segment.header = segment
            .header
            .filter(|header| end.is_none_or(|end| header.position < end));
        if let Some(header) = segment.header {
            end = Some(header.prev_end);
        }
    }
}

/// Makes up the header of a segment that lost it, from the segments beside it and its first record.
pub(super) fn restore_headers(segments: &mut [SegmentFile], salt: u64) -> Result<(), Error> {
    let mut before: Option<SegmentHeader> = None;
    let after: Vec<_> = segments
        .iter()
        .skip(1)
        .map(|s| s.header)
        .chain([None])
        .collect();
    for (segment, after) in segments.iter_mut().zip(after) {
        // A segment of another log has no business here.
        segment.header = segment.header.filter(|header| header.salt == salt);
        if segment.header.is_none() {
            segment.header = restore_header(segment, before, after, salt)?;
            segment.restored = segment.header.is_some();
        }
        before = segment.header;
    }
    Ok(())
}

fn restore_header(
    segment: &SegmentFile,
    before: Option<SegmentHeader>,
    after: Option<SegmentHeader>,
    salt: u64,
) -> Result<Option<SegmentHeader>, Error> {
    let len = segment
        .file
        .len()
        .map_err(|e| Error::at("read", &segment.name, e))?;
    let Some(file_len) = u32::try_from(len).ok().filter(|len| *len <= MAX_FILE_BYTES) else {
        return Ok(None);
    };
    let mut bytes = [0; HEADER_BYTES as usize];
    if segment
        .file
        .read_at(u64::from(RECORDS_AT), &mut bytes)
        .is_err()
    {
        return Ok(None);
    }
    let place = Place {
        salt,
        segment: segment.number,
        offset: RECORDS_AT,
    };
    let Some((record, _)) =
        RecordHeader::decode(place, &bytes).filter(|(record, _)| !record.repair)
    else {
        return Ok(None);
    };
    let before = before.filter(|before| before.number + 1 == segment.number);
    let after = after.filter(|after| after.number == segment.number + 1 && after.salt == salt);
    let position = match (before, after) {
        (Some(before), _) => before.position + u64::from(before.file_len),
        (None, Some(after)) => after.position.saturating_sub(len),
        (None, None) => return Ok(None),
    };
    Ok(Some(SegmentHeader {
        number: segment.number,
        position,
        file_len,
        salt,
        prev_index: record.index - 1,
        prev_term: record.prev_term,
        // At least there; or, if nothing is known of the segment before, anywhere before this one.
        prev_end: before.map_or(position, |before| before.position + u64::from(RECORDS_AT)),
        prev_first: before.map_or(0, |before| before.prev_index + 1),
        link: record.link,
        start: false,
        repair: false,
    }))
}

//! Golden scripts: bytes of the protocol and what they mean.
//!
//! Each command takes a whole message (or first word) as hexadecimal words. Its output is the decoded message;
//! then the message is encoded again, and where that gives other bytes (a peer's padding, an older form), the
//! output shows them. `UPDATE_GOLDENFILES=1` rewrites the expectations.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::error::Error;
use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use ferrolite_wire::{
    DEFAULT_MAX_BODY_BYTES, Header, Progress, Version, WireError, decode_nodes_v0, decode_request,
    decode_response, take_message,
};
use goldenscript::{Argument, Command, Context, Runner};
/// Every message of every script means what the script says.
#[test]
fn scripts() {
    let mut count = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata")).unwrap() {
        goldenscript::run(&mut Codec, entry.unwrap().path()).unwrap();
        count += 1;
    }
    assert!(count >= 5, "the scripts are gone");
}

struct Codec;

impl Runner for Codec {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let words: Vec<_> = command.args.iter().map(Argument::to_string).collect();
        let wire = unhex(&words.concat())?;
        let mut output = String::new();
        match command.name.as_str() {
            "handshake" => {
                let word = wire.as_slice().try_into()?;
                match Version::decode(word) {
                    Ok(version) => {
                        assert_eq!(version.encode(), word);
                        writeln!(output, "{version:?}")?;
                    }
                    Err(error) => report(&mut output, &error)?,
                }
            }
            "request" => {
                let (header, body) = message(&wire)?;
                match decode_request(header, body) {
                    Ok(request) => {
                        writeln!(output, "{} {request:?}", request.name())?;
                        let mut again = BytesMut::new();
                        request.encode(&mut again)?;
                        compare(&mut output, &wire, &again)?;
                    }
                    Err(error) => report(&mut output, &error)?,
                }
            }
            "response" => {
                let (header, body) = message(&wire)?;
                match decode_response(header, body) {
                    Ok(response) => {
                        writeln!(output, "{} {response:?}", response.name())?;
                        let mut again = BytesMut::new();
                        response.encode(&mut again)?;
                        compare(&mut output, &wire, &again)?;
                    }
                    Err(error) => report(&mut output, &error)?,
                }
            }
            "nodes-v0" => {
                let (header, body) = message(&wire)?;
                writeln!(output, "{:?}", decode_nodes_v0(header, body)?)?;
            }
            other => return Err(format!("no command {other}").into()),
        }
        Ok(output)
    }
}

fn message(wire: &[u8]) -> Result<(Header, Bytes), Box<dyn Error>> {
    let mut buffer = BytesMut::from(wire);
    match take_message(&mut buffer, DEFAULT_MAX_BODY_BYTES)? {
        Progress::Message(header, body) if buffer.is_empty() => Ok((header, body)),
        other => Err(format!("not one message: {other:?}").into()),
    }
}

fn report(output: &mut String, error: &WireError) -> std::fmt::Result {
    let end = if error.is_fatal() {
        ", connection closed"
    } else {
        ""
    };
    writeln!(output, "error: {error} [{}]{end}", error.failure_code())
}

fn compare(output: &mut String, wire: &[u8], again: &[u8]) -> std::fmt::Result {
    if wire != again {
        write!(output, "encoded:")?;
        for word in again.chunks(8) {
            write!(output, " ")?;
            word.iter()
                .try_for_each(|byte| write!(output, "{byte:02x}"))?;
        }
        writeln!(output)?;
    }
    Ok(())
}

fn unhex(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let digits = text.as_bytes();
    digits
        .chunks(2)
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
        .collect()
}

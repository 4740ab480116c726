//! From a frame of a client to what it asks for.

use serde::Deserialize;

use super::json::{self, Digits, Flag, Ids, Text, read_object};
use crate::connection::ConnectionConfig;
use crate::connection::wire::{Address, Frame, Rejected, Serial, Verb};
use crate::error::Error;
use crate::id::{ConversationId, DeviceId, MessageId, PeerId, ResumeToken, RetryToken, Tag};
use crate::message::{Content, Draft, Target};
use crate::request::{Create, Credentials, Open, Request, Shape};
use crate::signature::Signature;

/// Every field that a client's frame may have. Others are ignored.
#[derive(Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
struct Fields<'a> {
    #[serde(borrow)]
    cmd: Option<Text<'a>>,
    #[serde(borrow)]
    op: Option<Text<'a>>,
    #[serde(borrow)]
    app_id: Option<Text<'a>>,
    #[serde(borrow)]
    peer_id: Option<Text<'a>>,
    i: Option<Serial>,

    #[serde(borrow)]
    s: Option<Text<'a>>,
    t: Option<Digits>,
    #[serde(borrow)]
    n: Option<Text<'a>>,

    sp: Flag,
    r: Flag,
    transient: Flag,
    bin: Flag,

    #[serde(borrow)]
    tag: Option<Text<'a>>,
    #[serde(borrow)]
    device_id: Option<Text<'a>>,
    #[serde(borrow)]
    st: Option<Text<'a>>,
    #[serde(borrow)]
    session_token: Option<Text<'a>>,

    #[serde(borrow)]
    session_peer_ids: Ids<'a>,
    #[serde(borrow)]
    to_peer_ids: Ids<'a>,
    #[serde(borrow)]
    room_peer_ids: Ids<'a>,
    #[serde(borrow)]
    ids: Ids<'a>,

    #[serde(borrow)]
    room_id: Option<Text<'a>>,
    #[serde(borrow)]
    msg: Option<Text<'a>>,
    #[serde(borrow)]
    dt: Option<Text<'a>>,
    #[serde(borrow)]
    push_data: Option<Text<'a>>,
}

/// Whom a frame names, where the rest of it cannot be read.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AddressFields<'a> {
    #[serde(borrow)]
    peer_id: Option<Text<'a>>,
    i: Option<Serial>,
}

/// Reads one frame of a client.
pub(super) fn read(frame: &[u8], config: &ConnectionConfig) -> Result<Frame, Rejected> {
    let refused = |address, error| Rejected { address, error, is_fatal: false };
    let text = std::str::from_utf8(frame).map_err(|_| refused(Address::default(), Error::Unparseable))?;
    let fields: Fields<'_> = match read_object(text) {
        Ok(fields) => fields,
        Err(_) => return Err(refused(address_of(text, config), Error::Unparseable)),
    };
    if fields == Fields::default() {
        return Ok(Frame::Heartbeat);
    }
    let peer = fields.peer(config)?;
    let serial = fields.i;
    let verb = fields.checked_verb(config);
    let verb = verb.map_err(|error| refused(Address { peer: Some(peer.clone()), serial }, error))?;
    Ok(Frame::Command { peer, serial, verb })
}

/// As much of the address as an unreadable frame gives away.
fn address_of(text: &str, config: &ConnectionConfig) -> Address {
    let fields: AddressFields<'_> = read_object(text).unwrap_or_default();
    let peer = fields.peer_id.and_then(|id| PeerId::with_max(id.as_str(), config.peer_id_chars_max).ok());
    Address { peer, serial: fields.i }
}

impl Fields<'_> {
    /// The peer that asks. A frame without one cannot be addressed; one with a malformed one ends the connection.
    fn peer(&self, config: &ConnectionConfig) -> Result<PeerId, Rejected> {
        let rejected = |error, is_fatal| Rejected { address: Address { peer: None, serial: self.i }, error, is_fatal };
        let id = self.peer_id.as_ref().ok_or_else(|| rejected(Error::Unparseable, false))?;
        PeerId::with_max(id.as_str(), config.peer_id_chars_max).map_err(|error| rejected(error.into(), true))
    }

    fn checked_verb(&self, config: &ConnectionConfig) -> Result<Verb, Error> {
        match (&self.app_id, &config.app_id) {
            (Some(named), Some(expected)) if named.as_str() != expected => Err(Error::AppNotAvailable),
            _ => self.verb(config),
        }
    }

    fn verb(&self, config: &ConnectionConfig) -> Result<Verb, Error> {
        let command = self.cmd.as_ref().map_or("", Text::as_str);
        let op = self.op.as_ref().map_or("", Text::as_str);
        let request = match (command, op) {
            ("session", "open") => return Ok(Verb::Open(Box::new(self.open(config)?))),
            ("session", "add") => Request::Watch { peers: self.watched(config)?, signature: self.signature() },
            ("session", "remove") => Request::Unwatch { peers: self.watched(config)? },
            ("session", "query") => Request::QueryOnline { peers: self.watched(config)? },
            ("session", "close") => Request::Close,
            ("direct", _) => Request::Send(self.draft(config)?),
            ("ack", _) => Request::Acknowledge { messages: self.acknowledged()?, read: true },
            ("room", op) => self.room(op, config)?,
            _ => return Err(Error::Unparseable),
        };
        Ok(Verb::Request(request))
    }

    fn room(&self, op: &str, config: &ConnectionConfig) -> Result<Request, Error> {
        let signature = self.signature();
        Ok(match op {
            "join" if self.room_id().is_none() => Request::Create(self.create(config)?),
            "join" => Request::Join { conversation: self.conversation()?, signature },
            "leave" => Request::Leave { conversation: self.conversation()? },
            "invite" => {
                Request::Invite { conversation: self.conversation()?, peers: self.room_peers(config)?, signature }
            }
            "kick" => Request::Kick { conversation: self.conversation()?, peers: self.room_peers(config)?, signature },
            "members" => Request::Members { conversation: self.conversation()? },
            "list" => Request::Conversations,
            _ => return Err(Error::Unparseable),
        })
    }

    fn open(&self, config: &ConnectionConfig) -> Result<Open, Error> {
        let peer = self.peer(config).map_err(|rejected| rejected.error)?;
        Ok(Open {
            device: self.device_id.as_ref().map(|id| DeviceId::new(id.as_str())).transpose()?,
            tag: self.tag.as_ref().map(|tag| Tag::new(tag.as_str())).transpose()?,
            credentials: self.credentials(),
            watch: self.watched(config)?,
            reconnect: self.r.0,
            super_peer: self.sp.0,
            ..Open::new(peer)
        })
    }

    /// A resume token needs no signature beside it, and an account's token none either.
    fn credentials(&self) -> Credentials {
        match (&self.st, &self.session_token, self.signature()) {
            (Some(token), _, _) => Credentials::Token(ResumeToken::new(token.as_str())),
            (None, Some(token), _) => Credentials::Account(token.as_str().to_owned()),
            (None, None, Some(signature)) => Credentials::Signature(signature),
            (None, None, None) => Credentials::None,
        }
    }

    /// One field of a signature makes it a signature, so that half a one is refused and not ignored.
    fn signature(&self) -> Option<Signature> {
        let text = |field: &Option<Text<'_>>| field.as_ref().map(|text| text.as_str().to_owned()).unwrap_or_default();
        let is_there = self.s.is_some() || self.t.is_some() || self.n.is_some();
        is_there.then(|| Signature {
            timestamp: self.t.as_ref().map(|digits| digits.0.clone()).unwrap_or_default(),
            nonce: text(&self.n),
            signature: text(&self.s),
        })
    }

    fn draft(&self, config: &ConnectionConfig) -> Result<Draft, Error> {
        Ok(Draft {
            target: self.target(config)?,
            content: self.content()?,
            transient: self.transient.0,
            receipt: self.r.0,
            retry_token: self.dt.as_ref().map(|token| RetryToken::new(token.as_str())).transpose()?,
            push: self.push_data.as_ref().map(|push| push.as_str().to_owned()),
        })
    }

    fn target(&self, config: &ConnectionConfig) -> Result<Target, Error> {
        match (self.to_peer_ids.listed.is_empty(), self.room_id()) {
            (false, None) => Ok(Target::Peers(peers(&self.to_peer_ids, config)?)),
            (true, Some(_)) => Ok(Target::Conversation(self.conversation()?)),
            (false, Some(_)) | (true, None) => Err(Error::Unparseable),
        }
    }

    fn content(&self) -> Result<Content, Error> {
        let text = self.msg.as_ref().map(Text::as_str).filter(|text| !text.is_empty()).ok_or(Error::Unparseable)?;
        match self.bin.0 {
            true => json::bytes(text).map(Content::Binary).ok_or(Error::Unparseable),
            false => Ok(Content::Text(text.to_owned())),
        }
    }

    /// Texts that no message can have as its id are as unknown as any other unknown id.
    fn acknowledged(&self) -> Result<Vec<MessageId>, Error> {
        within_limit(&self.ids)?;
        let ids: Vec<_> = self.ids.listed.iter().filter_map(|id| MessageId::parse(id.as_str())).collect();
        if self.ids.listed.is_empty() { Err(Error::Unparseable) } else { Ok(ids) }
    }

    /// An open group for `transient`, else a new group; never one that exists.
    fn create(&self, config: &ConnectionConfig) -> Result<Create, Error> {
        let shape = if self.transient.0 { Shape::Room } else { Shape::Group };
        let members = peers(&self.room_peer_ids, config)?;
        Ok(Create { signature: self.signature(), ..Create::new(shape, members) })
    }

    fn watched(&self, config: &ConnectionConfig) -> Result<Vec<PeerId>, Error> {
        peers(&self.session_peer_ids, config)
    }

    fn room_peers(&self, config: &ConnectionConfig) -> Result<Vec<PeerId>, Error> {
        let peers = peers(&self.room_peer_ids, config)?;
        if peers.is_empty() { Err(Error::Unparseable) } else { Ok(peers) }
    }

    /// An empty `roomId` is none: it is how a group is created (the signed string has an empty one, too).
    fn room_id(&self) -> Option<&str> {
        self.room_id.as_ref().map(Text::as_str).filter(|id| !id.is_empty())
    }

    fn conversation(&self) -> Result<ConversationId, Error> {
        Ok(ConversationId::new(self.room_id().ok_or(Error::Unparseable)?)?)
    }
}

/// All of the ids or none: one malformed id refuses the whole request.
fn peers(ids: &Ids<'_>, config: &ConnectionConfig) -> Result<Vec<PeerId>, Error> {
    within_limit(ids)?;
    let parsed = ids.listed.iter().map(|id| PeerId::with_max(id.as_str(), config.peer_id_chars_max));
    Ok(parsed.collect::<Result<_, _>>()?)
}

const fn within_limit(ids: &Ids<'_>) -> Result<(), Error> {
    match ids.is_over {
        true => Err(Error::OverLimit { limit: "ids_per_frame_max", max: Ids::MAX as u64 }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(frame: &str) -> Result<Frame, Rejected> {
        read(frame.as_bytes(), &ConnectionConfig::default())
    }

    fn refusal(frame: &str) -> (u16, bool) {
        let rejected = parsed(frame).unwrap_err();
        (rejected.error.code(), rejected.is_fatal)
    }

    fn request(frame: &str) -> Request {
        match parsed(frame).unwrap() {
            Frame::Command { verb: Verb::Request(request), .. } => request,
            other => panic!("{other:?}"),
        }
    }

    fn opening(fields: &str) -> Open {
        match parsed(&format!(r#"{{"cmd":"session","op":"open","peerId":"alice"{fields}}}"#)).unwrap() {
            Frame::Command { verb: Verb::Open(open), .. } => *open,
            other => panic!("{other:?}"),
        }
    }

    fn peer(id: &str) -> PeerId {
        PeerId::new(id).unwrap()
    }

    #[test]
    fn an_open_says_everything() {
        let open = opening(concat!(
            r#","sessionPeerIds":["bob","carol"],"s":"AB","t":1700000000,"n":"x","sp":1,"r":true,"#,
            r#""tag":"phone","deviceId":"d1","ua":{"os":["x"]}"#
        ));
        assert_eq!(open.watch, [peer("bob"), peer("carol")]);
        assert_eq!((open.tag.unwrap().as_str(), open.device.unwrap().as_str()), ("phone", "d1"));
        assert!(open.reconnect && open.super_peer);
        let signature =
            Signature { timestamp: "1700000000".to_owned(), nonce: "x".to_owned(), signature: "AB".to_owned() };
        assert_eq!(open.credentials, Credentials::Signature(signature));
    }

    #[test]
    fn credentials_are_the_token_or_the_account_or_the_signature() {
        assert_eq!(opening("").credentials, Credentials::None);
        assert_eq!(opening(r#","st":"abc","s":"ab""#).credentials, Credentials::Token(ResumeToken::new("abc")));
        assert_eq!(opening(r#","sessionToken":"abc""#).credentials, Credentials::Account("abc".to_owned()));
        let half = Signature { timestamp: String::new(), nonce: "n".to_owned(), signature: String::new() };
        assert_eq!(opening(r#","n":"n""#).credentials, Credentials::Signature(half), "half a signature is no none");
    }

    #[test]
    fn row_16_the_timestamp_is_kept_as_it_was_signed() {
        let timestamp = |t: &str| match opening(&format!(r#","s":"","n":"","t":{t}"#)).credentials {
            Credentials::Signature(signature) => signature.timestamp,
            other => panic!("{other:?}"),
        };
        for (sent, kept) in [("17", "17"), (r#""17""#, "17"), ("-1", "-1"), (r#"" 01""#, " 01")] {
            assert_eq!(timestamp(sent), kept);
        }
        for bad in ["1e400", "1.5", "true", "[]", "18446744073709551616"] {
            assert_eq!(refusal(&format!(r#"{{"cmd":"session","op":"open","peerId":"a","t":{bad}}}"#)), (4114, false));
        }
    }

    #[test]
    fn a_direct_message_goes_to_peers_or_to_a_group() {
        let to_peers = request(concat!(
            r#"{"cmd":"direct","peerId":"a","toPeerIds":["b"],"msg":"x","r":1,"dt":"t","#,
            r#""pushData":"p","transient":false}"#
        ));
        let draft = Draft::to_peer(peer("b"), "x").with_receipt().with_retry_token(RetryToken::new("t").unwrap());
        assert_eq!(to_peers, Request::Send(draft.with_push("p")));
        let group = ConversationId::new("g").unwrap();
        assert_eq!(
            request(
                r#"{"cmd":"direct","peerId":"a","toPeerIds":[],"roomId":"g","msg":"AAE=","bin":true,"transient":1}"#
            ),
            Request::Send(Draft::to_conversation(group, Content::Binary(vec![0, 1])).transient())
        );
        for wrong in [
            r#""toPeerIds":["b"],"roomId":"g","msg":"x""#,
            r#""msg":"x""#,
            r#""toPeerIds":[],"roomId":"","msg":"x""#,
            r#""toPeerIds":["b"]"#,
            r#""toPeerIds":["b"],"msg":"""#,
            r#""toPeerIds":["b"],"msg":{"a":1}"#,
            r#""toPeerIds":["b"],"msg":"AA","bin":true"#,
            r#""toPeerIds":"b","msg":"x""#,
            r#""toPeerIds":["b"],"msg":"x","dt":"""#,
        ] {
            assert_eq!(refusal(&format!(r#"{{"cmd":"direct","peerId":"a",{wrong}}}"#)), (4114, false), "{wrong}");
        }
    }

    #[test]
    fn a_join_without_a_group_makes_one() {
        let group = Create::new(Shape::Group, Vec::new());
        assert_eq!(request(r#"{"cmd":"room","op":"join","peerId":"a"}"#), Request::Create(group));
        let room = Create::new(Shape::Room, vec![peer("b")]);
        let frame = r#"{"cmd":"room","op":"join","peerId":"a","roomId":"","transient":true,"roomPeerIds":["b"]}"#;
        assert_eq!(request(frame), Request::Create(room));
        for (op, fields) in [("leave", ""), ("invite", r#","roomId":"g""#), ("kick", r#","roomPeerIds":["b"]"#)] {
            assert_eq!(refusal(&format!(r#"{{"cmd":"room","op":"{op}","peerId":"a"{fields}}}"#)), (4114, false));
        }
    }

    #[test]
    fn row_02_a_peer_id_with_invisible_characters_is_refused() {
        for id in [r"a\u0000", r"\u0085", r"a\u202e", r"\u200b", " a", ""] {
            assert_eq!(refusal(&format!(r#"{{"cmd":"session","op":"open","peerId":"{id}"}}"#)), (4103, true), "{id}");
            let recipient = format!(r#"{{"cmd":"direct","peerId":"a","toPeerIds":["b","{id}"],"msg":"x"}}"#);
            assert_eq!(refusal(&recipient), (4103, false), "the message is refused, the connection stays: {id}");
        }
        let invalid = read(b"{\"cmd\":\"session\",\"op\":\"open\",\"peerId\":\"\xff\"}", &ConnectionConfig::default());
        assert_eq!(invalid.unwrap_err().error, Error::Unparseable);
    }

    #[test]
    fn row_03_a_peer_id_has_fifty_characters_at_most() {
        let open = |id: &str| parsed(&format!(r#"{{"cmd":"session","op":"open","peerId":"{id}"}}"#));
        assert!(open(&"a".repeat(50)).is_ok() && open(&"\u{1F600}".repeat(50)).is_ok());
        assert!(open(&r"\ud83d\ude00".repeat(50)).is_ok());
        assert_eq!(open(&"a".repeat(51)).unwrap_err().error, Error::InvalidPeerId);
    }

    #[test]
    fn row_09_content_of_the_largest_size_fits_into_a_frame_however_it_is_escaped() {
        let escaped = r"\u0001".repeat(5_120);
        let recipients = vec![format!("\"{}\"", r"\ud83d\ude00".repeat(50)); 50].join(",");
        let frame = format!(r#"{{"cmd":"direct","peerId":"a","toPeerIds":[{recipients}],"msg":"{escaped}"}}"#);
        assert!(frame.len() <= ConnectionConfig::default().frame_bytes_max, "{}", frame.len());
        let Request::Send(draft) = request(&frame) else { panic!("no message") };
        assert_eq!(draft.content.len(), 5_120);
    }

    #[test]
    fn row_10_unknown_commands_are_refused() {
        for verb in [r#""cmd":"nonsense""#, r#""cmd":"session","op":"opened""#, r#""cmd":"session""#, r#""op":"open""#]
        {
            assert_eq!(refusal(&format!(r#"{{{verb},"peerId":"a"}}"#)), (4114, false), "{verb}");
        }
        assert_eq!(refusal(r#"{"cmd":"session","op":"open"}"#), (4114, false), "nobody asks");
    }

    #[test]
    fn row_13_nesting_costs_nothing() {
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(parsed(&format!(r#"{{"x":{}}}"#, deep(30_000))), Ok(Frame::Heartbeat));
        for field in ["cmd", "toPeerIds", "t", "r"] {
            assert_eq!(refusal(&format!(r#"{{"peerId":"a","{field}":{}}}"#, deep(30_000))), (4114, false));
        }
        assert_eq!(refusal(&"[".repeat(60_000)), (4114, false));
        assert_eq!(refusal(&r#"{"a":"#.repeat(10_000)), (4114, false));
    }

    #[test]
    fn row_14_a_list_beyond_every_limit_is_refused_as_a_whole() {
        let ids: Vec<_> = (0..1_001).map(|id| format!("\"{id}\"")).collect();
        let frame = format!(r#"{{"cmd":"session","op":"add","peerId":"a","sessionPeerIds":[{}]}}"#, ids.join(","));
        assert_eq!(refusal(&frame), (4318, false));
    }

    #[test]
    fn hostile_json_is_refused() {
        for bad in [
            r#"{"peerId":"a","peerId":"b","cmd":"room","op":"list"}"#,
            r#"{"peerId":"\ud800","cmd":"room","op":"list"}"#,
            r#"{"peerId":"a","cmd":"room","op":"list"}{}"#,
            r#"{"peerId":"a","cmd":"room","op":"list","i":-1}"#,
            r#"{"peerId":"a","cmd":"room","op":"list","i":1e400}"#,
            r#"["room","list",null,"a"]"#,
            "null",
            "\u{feff}{}",
            "{}\0",
        ] {
            assert_eq!(refusal(bad), (4114, false), "{bad}");
        }
        assert!(parsed(r#"{"peerId":"a","cmd":"room","op":"list","i":null,"other":1e400}"#).is_ok());
    }

    #[test]
    fn a_refusal_names_whom_it_concerns_where_that_can_be_read() {
        let address = |frame: &str| parsed(frame).unwrap_err().address;
        let known = Address { peer: Some(peer("a")), serial: Some(7) };
        assert_eq!(address(r#"{"peerId":"a","i":7,"cmd":"room","op":5}"#), known);
        assert_eq!(address(r#"{"peerId":"a","i":7,"cmd":"room","op":"x"}"#), known);
        let unnamed = Address { peer: None, serial: Some(7) };
        assert_eq!(address(r#"{"peerId":"a\u0000","i":7,"cmd":"room","op":"list"}"#), unnamed, "never echoed");
        assert_eq!(address(r#"{"peerId":"a","i":7,"#), Address::default());
    }
}

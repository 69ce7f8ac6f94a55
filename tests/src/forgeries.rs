//! Webhooks of every ready signature scheme, and what is made of them by who does not have the secret: every single-bit
//! flip, and random mutations from a seed. What means the same as the valid request is never among them.

use std::iter;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use plugin_abi::testing::{base64_mac, hex_mac};
use serde_json::json;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

/// The secret of all schemes: its text is Base64 too, as Standard Webhooks needs it.
pub const FORGED_SECRET: &str = "Zm9yZ2VkLXdpdGhvdXQtdGhlLXNlY3JldC0wMDAx";
/// What a forger has in its place.
const OTHER_SECRET: &str = "Zm9yZ2VkLXdpdGhvdXQtdGhlLXNlY3JldC0wMDAy";
/// Mutations that are made of one valid request before another one is taken.
const MUTATIONS_OF_ONE: usize = 500;
/// Kinds of mutation; the last one takes a field of another webhook, of another time, or under another secret.
const MUTATIONS: usize = 12;

/// A scheme by which the plugin `desk_schemes` validates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedBy {
    /// `sha256=<hex>` over the body.
    Hub,
    /// `<hex>` over the body.
    Hex,
    /// Base64 over time stamp and body, with nothing between them, as Zendesk has it.
    Timestamped,
    /// Standard Webhooks.
    Standard,
    /// The secret itself.
    Token,
    /// The secret as a password.
    Basic,
    /// A JSON Web Token.
    Jwt,
}

/// What a webhook is but its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Only those that the scheme reads; names in lower case.
    pub headers: Vec<(&'static str, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

impl SignedBy {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Hub, Self::Hex, Self::Timestamped, Self::Standard, Self::Token, Self::Basic, Self::Jwt];

    /// The plugin's setting `scheme`, which will do for a tenant's id too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Hex => "hex",
            Self::Timestamped => "timestamped",
            Self::Standard => "standard",
            Self::Token => "token",
            Self::Basic => "basic",
            Self::Jwt => "jwt",
        }
    }

    /// The webhook about a ticket, as the tool sends it at this time.
    pub fn valid(self, ticket: u64, at: OffsetDateTime) -> Delivery {
        self.signed(FORGED_SECRET, ticket, at)
    }

    fn signed(self, secret: &str, ticket: u64, at: OffsetDateTime) -> Delivery {
        let body = json!({ "ticket_id": ticket.to_string(), "event": "ticket_created" }).to_string().into_bytes();
        let key = secret.as_bytes();
        let headers = match self {
            Self::Hub => vec![("x-webhook-signature", format!("sha256={}", hex_mac(key, &[&body])))],
            Self::Hex => vec![("x-signature", hex_mac(key, &[&body]))],
            Self::Timestamped => {
                let stamp = at.format(&Rfc3339).expect("a time of this century");
                vec![("x-signature", base64_mac(key, &[stamp.as_bytes(), &body])), ("x-timestamp", stamp)]
            }
            Self::Standard => {
                let (id, stamp) = (format!("msg_{ticket}"), at.unix_timestamp().to_string());
                let key = STANDARD.decode(secret).expect("the secrets are Base64");
                let mac = base64_mac(&key, &[id.as_bytes(), b".", stamp.as_bytes(), b".", &body]);
                let signatures = format!("v1,{mac}");
                vec![("webhook-id", id), ("webhook-timestamp", stamp), ("webhook-signature", signatures)]
            }
            Self::Token => vec![("x-token", secret.to_owned())],
            Self::Basic => vec![("authorization", format!("Basic {}", STANDARD.encode(format!("desk:{secret}"))))],
            Self::Jwt => {
                let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
                let claims = json!({ "iat": at.unix_timestamp(), "exp": at.unix_timestamp() + 180, "jti": ticket });
                let signed = format!("{}.{}", part(json!({ "alg": "HS256", "typ": "JWT" })), part(claims));
                let mac = base64_mac(key, &[signed.as_bytes()]).replace('+', "-").replace('/', "_");
                vec![("authorization", format!("JWT {signed}.{}", mac.trim_end_matches('=')))]
            }
        };
        Delivery { headers: headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect(), body }
    }

    /// Whether the body is signed. Where it is not, whoever can change it on its way has the secret before them too.
    fn covers_body(self) -> bool {
        matches!(self, Self::Hub | Self::Hex | Self::Timestamped | Self::Standard)
    }

    /// Every forgery that differs from the webhook in one bit.
    pub fn bit_flips(self, ticket: u64, at: OffsetDateTime) -> Vec<Delivery> {
        let valid = self.valid(ticket, at);
        let fields = 0..valid.fields(self);
        let flips = fields.flat_map(|field| (0..8 * valid.field(field).len()).map(move |bit| (field, bit)));
        let flipped = flips.map(|(field, bit)| {
            let mut forged = valid.clone();
            forged.field_mut(field)[bit / 8] ^= 1 << (bit % 8);
            forged
        });
        flipped.filter(|forged| self.is_forged(&valid, forged)).collect()
    }

    /// Random forgeries without end; the same ones for the same seed.
    pub fn mutations(self, seed: u64, at: OffsetDateTime) -> impl Iterator<Item = Delivery> {
        let mut random = Random(seed);
        let webhooks = (0_u64..).map(move |ticket| (ticket, self.valid(ticket, at)));
        webhooks.flat_map(|webhook| iter::repeat_n(webhook, MUTATIONS_OF_ONE)).filter_map(move |(ticket, valid)| {
            let mut forged = valid.clone();
            for round in 0..=random.below(3) {
                // Only one field comes from elsewhere: with two, a whole webhook of another ticket could come together.
                let kinds = if round == 0 { MUTATIONS } else { MUTATIONS - 1 };
                self.mutate(random.below(kinds), &mut forged, ticket, at, &mut random);
            }
            self.is_forged(&valid, &forged).then_some(forged)
        })
    }

    fn mutate(self, kind: usize, forged: &mut Delivery, ticket: u64, at: OffsetDateTime, random: &mut Random) {
        if forged.headers.is_empty() {
            return;
        }
        let field = random.below(forged.fields(self));
        let byte = random.byte();
        let bytes = forged.field_mut(field);
        let (from, to) = (random.below(bytes.len() + 1), random.below(bytes.len() + 1));
        let (from, to) = (from.min(to), from.max(to));
        match kind {
            0 if from < bytes.len() => bytes[from] ^= 1 << random.below(8),
            1 if from < bytes.len() => bytes[from] = byte,
            2 => bytes.insert(from, byte),
            3 => drop(bytes.drain(from..to)),
            4 => bytes.truncate(from),
            5 => bytes.extend_from_within(from..to),
            6 => bytes[from..to].reverse(),
            7 => bytes[from..to].fill(byte),
            8 => drop(forged.headers.remove(random.below(forged.headers.len()))),
            9 => forged.headers.push(forged.headers[random.below(forged.headers.len())].clone()),
            // Bytes wander over the seam between what stands in a header and the body behind it.
            10 => {
                let (_, last) = forged.headers.last_mut().expect("there is a header");
                let at = random.below(last.len() + 1);
                let mut moved = last.split_off(at);
                moved.append(&mut forged.body);
                forged.body = moved;
            }
            11 => {
                let other = match random.below(3) {
                    // A token is not about one webhook, so that of another time would be authentic.
                    0 if self != Self::Jwt => self.valid(ticket + 1 + random.below(9) as u64, at),
                    1 if self != Self::Jwt => self.valid(ticket, at + Duration::seconds(1 + random.below(600) as i64)),
                    _ => self.signed(OTHER_SECRET, ticket, at),
                };
                let field = random.below(other.fields(self).min(forged.fields(self)));
                *forged.field_mut(field) = other.field(field).clone();
            }
            _ => {}
        }
    }

    /// Whether `forged` can arrive over HTTP and says something else than `valid`. These are one request by design:
    ///
    /// * white space around a header's value is not part of it (RFC 9110, 5.5);
    /// * hexadecimal digits and the words `sha256` and `Basic` may have either case, and `v1` may stand among others;
    /// * a MAC in Base64 may have its padding or not, since senders differ.
    fn is_forged(self, valid: &Delivery, forged: &Delivery) -> bool {
        let arrives = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
        forged.headers.iter().all(|(_, value)| value.iter().all(arrives)) && !self.is_same(valid, forged)
    }

    fn is_same(self, valid: &Delivery, forged: &Delivery) -> bool {
        if self.covers_body() && valid.body != forged.body {
            return false;
        }
        let same = |(name, value): &(&str, Vec<u8>)| {
            let (Ok(value), Some(other)) = (std::str::from_utf8(value), forged.text(name)) else { return false };
            match self {
                Self::Hub | Self::Hex => value.eq_ignore_ascii_case(other),
                Self::Timestamped => value.trim_end_matches('=') == other.trim_end_matches('='),
                Self::Standard if *name == "webhook-signature" => {
                    other.split(' ').any(|one| one.trim_end_matches('=') == value.trim_end_matches('='))
                }
                Self::Basic => match (value.split_once(' '), other.split_once(' ')) {
                    (Some((word, pair)), Some((other_word, other_pair))) => {
                        word.eq_ignore_ascii_case(other_word) && pair == other_pair.trim()
                    }
                    _ => false,
                },
                Self::Jwt => value == other.trim_end_matches('='),
                Self::Standard | Self::Token => value == other,
            }
        };
        valid.headers.iter().all(same)
    }
}

impl Delivery {
    /// Headers and, where it is signed, the body.
    fn fields(&self, by: SignedBy) -> usize {
        self.headers.len() + usize::from(by.covers_body())
    }

    fn field(&self, field: usize) -> &Vec<u8> {
        self.headers.get(field).map_or(&self.body, |(_, value)| value)
    }

    fn field_mut(&mut self, field: usize) -> &mut Vec<u8> {
        self.headers.get_mut(field).map_or(&mut self.body, |(_, value)| value)
    }

    /// The text of the one header of this name.
    fn text(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| *known == name);
        let (_, value) = found.next()?;
        if found.next().is_some() {
            return None;
        }
        std::str::from_utf8(value).ok().map(str::trim)
    }
}

/// SplitMix64: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 up to, but without, `end`; 0 when there is nothing below it.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).expect("less than a usize")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

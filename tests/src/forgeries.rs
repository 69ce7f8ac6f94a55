//! Webhooks of every ready signature scheme and every tool's own, and forgeries of them without the secret: every
//! single-bit flip, and random mutations from a seed. Changes that mean the same as the valid request are left out.

use std::iter;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use plugin_abi::testing::{Random, base64_mac, hex_mac};
use sandbox::{
    TicketFields, Tool,
    webhook::{Event, Form, Scheme, Webhook},
};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

/// The secret of all schemes. Its text is also Base64, as Standard Webhooks requires.
pub const FORGED_SECRET: &str = "Zm9yZ2VkLXdpdGhvdXQtdGhlLXNlY3JldC0wMDAx";
/// The forger's secret.
const OTHER_SECRET: &str = "Zm9yZ2VkLXdpdGhvdXQtdGhlLXNlY3JldC0wMDAy";
/// Number of mutations of one valid request before the next is used.
const MUTATIONS_OF_ONE: usize = 500;
/// Number of kinds of mutation. The last one takes a field of another webhook, of another time, or under another
/// secret.
const MUTATIONS: usize = 12;

/// A scheme, as the plugin `desk_schemes` or one of the five tools' plugins accepts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedBy {
    /// `sha256=<hex>` over the body.
    Hub,
    /// `<hex>` over the body.
    Hex,
    /// Base64 over time stamp and body, with nothing in between, as Zendesk has it.
    Timestamped,
    /// Standard Webhooks.
    Standard,
    /// The secret itself.
    Token,
    /// The secret as a password.
    Basic,
    /// A JSON Web Token.
    Jwt,
    /// ServiceDesk Plus: `<hex>` over the body.
    ServiceDeskPlus,
    /// Freshservice: the secret itself.
    Freshservice,
    /// ServiceNow: Base64 over time stamp, colon and body.
    ServiceNow,
    /// Jira: `sha256=<hex>` over the body.
    Jira,
    /// Jira: a Connect app's JSON Web Token, for one method, path and query.
    JiraConnect,
    /// Jira: an OAuth app's JSON Web Token.
    JiraOauth,
    /// Zendesk: Base64 over time stamp and body.
    Zendesk,
}

/// A webhook without its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The headers that the scheme reads; names in lower case.
    pub headers: Vec<(&'static str, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

impl SignedBy {
    /// The schemes of `desk_schemes`.
    pub const READY: [Self; 7] =
        [Self::Hub, Self::Hex, Self::Timestamped, Self::Standard, Self::Token, Self::Basic, Self::Jwt];
    /// The five tools' own schemes.
    pub const TOOLS: [Self; 7] = [
        Self::ServiceDeskPlus,
        Self::Freshservice,
        Self::ServiceNow,
        Self::Jira,
        Self::JiraConnect,
        Self::JiraOauth,
        Self::Zendesk,
    ];

    /// The setting `scheme` of `desk_schemes`, which also serves as a tenant's id.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Hex => "hex",
            Self::Timestamped => "timestamped",
            Self::Standard => "standard",
            Self::Token => "token",
            Self::Basic => "basic",
            Self::Jwt => "jwt",
            Self::ServiceDeskPlus => "servicedesk-plus",
            Self::Freshservice => "freshservice",
            Self::ServiceNow => "servicenow",
            Self::Jira => "jira",
            Self::JiraConnect => "jira-connect",
            Self::JiraOauth => "jira-oauth",
            Self::Zendesk => "zendesk",
        }
    }

    /// Tool type and settings of a tenant with this scheme.
    pub fn tenant(self) -> (&'static str, Vec<(&'static str, &'static str)>) {
        match self {
            Self::ServiceDeskPlus => ("servicedesk_plus", vec![]),
            Self::Freshservice => ("freshservice", vec![]),
            Self::ServiceNow => ("servicenow", vec![]),
            Self::Jira => ("jira", vec![("api_auth", "bearer")]),
            Self::JiraConnect => ("jira", vec![("api_auth", "bearer"), ("webhook_auth", "connect")]),
            Self::JiraOauth => ("jira", vec![("api_auth", "bearer"), ("webhook_auth", "oauth")]),
            Self::Zendesk => ("zendesk", vec![("api_auth", "bearer")]),
            _ => ("desk_schemes", vec![("scheme", self.name())]),
        }
    }

    /// The equivalent ready scheme.
    fn ready(self) -> Self {
        match self {
            Self::ServiceDeskPlus => Self::Hex,
            Self::Freshservice => Self::Token,
            Self::ServiceNow | Self::Zendesk => Self::Timestamped,
            Self::Jira => Self::Hub,
            Self::JiraConnect | Self::JiraOauth => Self::Jwt,
            ready => ready,
        }
    }

    /// The header with the proof.
    fn header(self) -> &'static str {
        match self {
            Self::Hub => "x-webhook-signature",
            Self::Hex | Self::Timestamped => "x-signature",
            Self::Standard => "webhook-signature",
            Self::Token => "x-token",
            Self::Basic | Self::Jwt | Self::JiraConnect | Self::JiraOauth => "authorization",
            Self::ServiceDeskPlus => "x-servicedesk-signature",
            Self::Freshservice => "x-webhook-token",
            Self::ServiceNow => "x-servicenow-signature",
            Self::Jira => "x-hub-signature",
            Self::Zendesk => "x-zendesk-webhook-signature",
        }
    }

    /// The header with the time stamp, and the separator between it and the body in the signed text.
    fn timestamp(self) -> (&'static str, &'static str) {
        match self {
            Self::ServiceNow => ("x-servicenow-timestamp", ":"),
            Self::Zendesk => ("x-zendesk-webhook-signature-timestamp", ""),
            _ => ("x-timestamp", ""),
        }
    }

    /// The tool's body for a ticket.
    fn body(self, ticket: u64, at: OffsetDateTime) -> Vec<u8> {
        let (tool, form, id) = match self {
            Self::ServiceDeskPlus => (Tool::ServicedeskPlus, Form::Flat, ticket.to_string()),
            Self::Freshservice => (Tool::Freshservice, Form::Flat, ticket.to_string()),
            Self::ServiceNow => (Tool::ServiceNow, Form::Flat, format!("{ticket:032x}")),
            Self::Jira | Self::JiraConnect | Self::JiraOauth => (Tool::Jira, Form::Flat, format!("IT-{ticket}")),
            Self::Zendesk => (Tool::Zendesk, Form::Event, ticket.to_string()),
            _ => return json!({ "ticket_id": ticket.to_string(), "event": "ticket_created" }).to_string().into_bytes(),
        };
        let told = TicketFields { created_at: at, ..TicketFields::default() };
        let webhook = Webhook { tool, form, ticket: told, ..Webhook::new(self.name(), Event::Created, id) };
        sandbox::webhook::signed(&webhook, Scheme::StaticToken, FORGED_SECRET).expect("there is a secret").body
    }

    /// The tool's webhook for a ticket at this time.
    pub fn valid(self, ticket: u64, at: OffsetDateTime) -> Delivery {
        self.signed(FORGED_SECRET, ticket, at)
    }

    fn signed(self, secret: &str, ticket: u64, at: OffsetDateTime) -> Delivery {
        let body = self.body(ticket, at);
        let (key, proof) = (secret.as_bytes(), self.header());
        let headers = match self.ready() {
            Self::Hub => vec![(proof, format!("sha256={}", hex_mac(key, &[&body])))],
            Self::Hex => vec![(proof, hex_mac(key, &[&body]))],
            Self::Timestamped => {
                let stamp = at.format(&Rfc3339).expect("a time of this century");
                let (header, separator) = self.timestamp();
                let mac = base64_mac(key, &[stamp.as_bytes(), separator.as_bytes(), &body]);
                vec![(proof, mac), (header, stamp)]
            }
            Self::Standard => {
                let (id, stamp) = (format!("msg_{ticket}"), at.unix_timestamp().to_string());
                let key = STANDARD.decode(secret).expect("the secrets are Base64");
                let mac = base64_mac(&key, &[id.as_bytes(), b".", stamp.as_bytes(), b".", &body]);
                vec![("webhook-id", id), ("webhook-timestamp", stamp), (proof, format!("v1,{mac}"))]
            }
            Self::Token => vec![(proof, secret.to_owned())],
            Self::Basic => vec![(proof, format!("Basic {}", STANDARD.encode(format!("desk:{secret}"))))],
            _ => vec![(proof, self.web_token(key, ticket, at))],
        };
        Delivery { headers: headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect(), body }
    }

    fn web_token(self, key: &[u8], ticket: u64, at: OffsetDateTime) -> String {
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let mut claims = json!({ "iat": at.unix_timestamp(), "exp": at.unix_timestamp() + 180, "jti": ticket });
        if self == Self::JiraConnect {
            let request = format!("POST&/webhooks/{}&", self.name());
            claims["qsh"] = Sha256::digest(request).iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
        }
        let signed = format!("{}.{}", part(json!({ "alg": "HS256", "typ": "JWT" })), part(claims));
        let mac = base64_mac(key, &[signed.as_bytes()]).replace('+', "-").replace('/', "_");
        let word = if self == Self::JiraOauth { "Bearer" } else { "JWT" };
        format!("{word} {signed}.{}", mac.trim_end_matches('='))
    }

    /// Whether the body is signed. Without that, anyone who can change the body in transit also sees the secret.
    fn covers_body(self) -> bool {
        matches!(self.ready(), Self::Hub | Self::Hex | Self::Timestamped | Self::Standard)
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

    /// An endless series of random forgeries, equal for equal seeds.
    pub fn mutations(self, seed: u64, at: OffsetDateTime) -> impl Iterator<Item = Delivery> {
        let mut random = Random(seed);
        let webhooks = (0_u64..).map(move |ticket| (ticket, self.valid(ticket, at)));
        webhooks.flat_map(|webhook| iter::repeat_n(webhook, MUTATIONS_OF_ONE)).filter_map(move |(ticket, valid)| {
            let mut forged = valid.clone();
            for round in 0..=random.below(3) {
                // Only one field comes from elsewhere: two could form a complete webhook of another ticket.
                let kinds = if round == 0 { MUTATIONS } else { MUTATIONS - 1 };
                self.mutate(random.below(kinds), &mut forged, ticket, at, &mut random);
            }
            self.is_forged(&valid, &forged).then_some(forged)
        })
    }

    /// An endless series of whole webhooks by somebody without the secret: under another tenant's secret, of another
    /// time, with the proof's letters in the other case, and with a part of the proof.
    pub fn wholes(self, at: OffsetDateTime) -> impl Iterator<Item = Delivery> {
        (0_u64..).flat_map(move |ticket| {
            let valid = self.valid(ticket, at);
            let proof_of = |forged: &mut Delivery| {
                forged.headers.iter().position(|(name, _)| *name == self.header()).expect("a webhook has a proof")
            };
            let (mut other_case, mut part) = (valid.clone(), valid.clone());
            let proof = proof_of(&mut other_case);
            other_case.headers[proof].1.iter_mut().for_each(|byte| *byte ^= u8::from(byte.is_ascii_alphabetic()) << 5);
            let length = part.headers[proof].1.len();
            part.headers[proof].1.truncate(usize::try_from(ticket).expect("there is time for few") % length);
            let away = Duration::hours(24 + i64::try_from(ticket % 1_000).expect("it is below 1,000"));
            let has_time = matches!(self.ready(), Self::Timestamped | Self::Standard | Self::Jwt);
            let replayed = has_time.then(|| self.valid(ticket, at - away));
            let early = has_time.then(|| self.valid(ticket, at + away)).filter(|_| self.ready() != Self::Jwt);
            let all = [Some(self.signed(OTHER_SECRET, ticket, at)), replayed, early, Some(other_case), Some(part)];
            all.into_iter().flatten().filter(move |forged| self.is_forged(&valid, forged))
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
            // Moves bytes across the seam between a header's value and the body after it.
            10 => {
                let (_, last) = forged.headers.last_mut().expect("there is a header");
                let at = random.below(last.len() + 1);
                let mut moved = last.split_off(at);
                moved.append(&mut forged.body);
                forged.body = moved;
            }
            11 => {
                let other = match random.below(3) {
                    // A token is not bound to one webhook, so one of another time would be authentic.
                    0 if self.ready() != Self::Jwt => self.valid(ticket + 1 + random.below(9) as u64, at),
                    1 if self.ready() != Self::Jwt => {
                        self.valid(ticket, at + Duration::seconds(1 + random.below(600) as i64))
                    }
                    _ => self.signed(OTHER_SECRET, ticket, at),
                };
                let field = random.below(other.fields(self).min(forged.fields(self)));
                *forged.field_mut(field) = other.field(field).clone();
            }
            _ => {}
        }
    }

    /// Whether `forged` can arrive over HTTP and differs in meaning from `valid`. These differences mean the same by
    /// design:
    ///
    /// * white space around a header's value is not part of it (RFC 9110, 5.5);
    /// * hexadecimal digits and the words `sha256` and `Basic` may have either case, and `v1` may be among others;
    /// * a MAC in Base64 may have padding or not, since senders differ.
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
            match self.ready() {
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
                Self::Jwt => match (value.split_once(' '), other.split_once(' ')) {
                    (Some((word, token)), Some((other_word, other_token))) => {
                        word == other_word && token == other_token.trim().trim_end_matches('=')
                    }
                    _ => false,
                },
                _ => value == other,
            }
        };
        valid.headers.iter().all(same)
    }
}

impl Delivery {
    /// Number of headers, plus one for a signed body.
    fn fields(&self, by: SignedBy) -> usize {
        self.headers.len() + usize::from(by.covers_body())
    }

    fn field(&self, field: usize) -> &Vec<u8> {
        self.headers.get(field).map_or(&self.body, |(_, value)| value)
    }

    fn field_mut(&mut self, field: usize) -> &mut Vec<u8> {
        self.headers.get_mut(field).map_or(&mut self.body, |(_, value)| value)
    }

    /// The text of the only header with this name.
    fn text(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| *known == name);
        let (_, value) = found.next()?;
        if found.next().is_some() {
            return None;
        }
        std::str::from_utf8(value).ok().map(str::trim)
    }
}

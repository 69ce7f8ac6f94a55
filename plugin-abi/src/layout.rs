//! How the types of a module differ from the host's, in one sentence: abi_stable itself says it in pages.

use std::fmt::{Debug, Display};

use abi_stable::{
    StableAbi as _,
    abi_stability::abi_checking::{AbiInstability as Differs, ExpectedFound, check_layout_compatibility},
    library::LibHeader,
    type_layout::{TLFieldOrFunction, TypeLayout},
};

use crate::raw::PluginModuleRef;

/// The first difference of the innermost type that differs; what contains it differs only for its sake. For the process
/// that tries a plugin: abi_stable keeps references to what it compares.
pub fn difference(header: &LibHeader) -> String {
    let sentence = header.layout().and_then(|found| compare(PluginModuleRef::LAYOUT, found));
    sentence.unwrap_or_else(|| "its module is of another type than the host's".to_owned())
}

fn compare(expected: &'static TypeLayout, found: &'static TypeLayout) -> Option<String> {
    let errors = check_layout_compatibility(expected, found).err()?.errors;
    let differing = errors.iter().filter(|error| !error.errs.is_empty());
    let innermost = differing.max_by_key(|error| error.stack_trace.len())?;
    let place = innermost.stack_trace.last();
    let name = place.map_or_else(|| "the module".to_owned(), |place| name(&place.found));
    if let Some(ExpectedFound { expected, found }) = place.and_then(types) {
        return Some(format!("{name}: host expects {expected}, plugin has {found}"));
    }
    Some(match said(innermost.errs.first()?) {
        (what, Some(ExpectedFound { expected, found })) => {
            format!("{name}: {what}: host expects {expected}, plugin has {found}")
        }
        (what, None) => format!("{name}: {what}"),
    })
}

fn name(place: &TLFieldOrFunction) -> String {
    match place {
        // Around a single value; the type says more.
        TLFieldOrFunction::Field(field) if field.name() == "0" => format!("type `{}`", field.full_type()),
        TLFieldOrFunction::Field(field) => format!("field `{}`", field.name()),
        TLFieldOrFunction::Function(function) => format!("function `{}`", function.name),
    }
}

/// The types of a field on both sides, when they have different names.
fn types(place: &ExpectedFound<TLFieldOrFunction>) -> Option<ExpectedFound<String>> {
    let types = place.as_ref().map(|side| match side {
        TLFieldOrFunction::Field(field) => field.full_type().to_string(),
        TLFieldOrFunction::Function(_) => String::new(),
    });
    (types.expected != types.found).then_some(types)
}

/// What differs, with both sides of it where each is a word and not a page.
fn said(difference: &Differs) -> (&'static str, Option<ExpectedFound<String>>) {
    fn shown<T: Display>(sides: &ExpectedFound<T>) -> Option<ExpectedFound<String>> {
        Some(sides.as_ref().map(ToString::to_string))
    }
    fn named<T: Debug>(sides: &ExpectedFound<T>) -> Option<ExpectedFound<String>> {
        Some(sides.as_ref().map(|side| format!("{side:?}")))
    }
    match difference {
        Differs::Name(sides) => ("another type", shown(sides)),
        Differs::MismatchedPrimitive(sides) => ("another type", named(sides)),
        Differs::TLDataDiscriminant(sides) => ("another kind of type", named(sides)),
        Differs::Size(sides) => ("another size in bytes", shown(sides)),
        Differs::Alignment(sides) => ("another alignment in bytes", shown(sides)),
        Differs::FieldCountMismatch(sides) => ("another number of fields", shown(sides)),
        Differs::MismatchedPrefixSize(sides) => ("another number of fields that must be there", shown(sides)),
        Differs::UnexpectedField(sides) => {
            ("another field", Some(sides.as_ref().map(|field| format!("`{}`", field.name()))))
        }
        Differs::Package(sides) => ("a type of another package", shown(sides)),
        Differs::PackageVersion(_) => ("a type of another version of its package", None),
        _ => ("another layout", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two builds of one crate.
    macro_rules! build {
        ($name:ident: $($field:ident: $type:ty),*) => {
            mod $name {
                #[repr(C)]
                #[derive(abi_stable::StableAbi)]
                pub(super) struct Told { $($field: $type),* }
                #[repr(C)]
                #[derive(abi_stable::StableAbi)]
                pub(super) struct Around { told: Told }
            }
        };
    }
    build!(ours: subject: u64, priority: u8);
    build!(wider: subject: u64, priority: u32);
    build!(longer: subject: u64, priority: u8, status: u8);
    build!(renamed: subject: u64, urgency: u8);

    #[test]
    fn the_innermost_difference_is_said_in_a_sentence() {
        let check =
            |found, expected: Option<&str>| assert_eq!(compare(ours::Around::LAYOUT, found).as_deref(), expected);
        check(ours::Around::LAYOUT, None);
        check(wider::Around::LAYOUT, Some("field `priority`: host expects u8, plugin has u32"));
        check(longer::Around::LAYOUT, Some("field `told`: another number of fields: host expects 2, plugin has 3"));
        check(
            renamed::Around::LAYOUT,
            Some("field `told`: another field: host expects `priority`, plugin has `urgency`"),
        );
    }
}

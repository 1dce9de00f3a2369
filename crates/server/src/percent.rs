//! Percent-encoding, as paths, queries and one header use it.

/// Decodes `text`; `plus` says whether `+` is a space, as forms write it.
///
/// None if a `%` is not followed by two hex digits, or the result is not UTF-8.
pub(crate) fn decode(text: &str, plus: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                let hex = |digit: u8| char::from(digit).to_digit(16);
                let value = hex(*digits.first()?)? * 16 + hex(*digits.get(1)?)?;
                bytes.push(u8::try_from(value).ok()?);
                rest = after;
            }
            b'+' if plus => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn what_is_not_well_encoded_is_refused() {
        assert_eq!(decode("a%2Fb+c", false).as_deref(), Some("a/b+c"));
        assert_eq!(decode("a+b%C3%A9", true).as_deref(), Some("a bé"));
        for text in ["%", "%2", "%zz", "%+1", "%ff", "%C3%"] {
            assert_eq!(decode(text, true), None, "{text}");
        }
    }
}

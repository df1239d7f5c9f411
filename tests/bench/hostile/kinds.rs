//! Kinds of text.

/// English prose, which the others are measured against.
pub(crate) const PROSE: &str = "prose";

/// A name, and what is repeated.
pub(crate) const KINDS: [(&str, &str); 16] = [
    (
        PROSE,
        "The city has a population of three and a half million registered inhabitants, which makes it the largest of the \
         country; its theatres, museums and gardens are known far beyond the region. ",
    ),
    ("exclamation marks", "!"),
    ("one Chinese character", "北"),
    ("Chinese prose", "柏林是德国的首都，也是德国最大的城市，现有居民约三百五十万人。"),
    ("Russian prose", "Берлин является столицей и крупнейшим городом Германии, население три с половиной миллиона. "),
    ("Arabic prose", "برلين هي عاصمة جمهورية ألمانيا الاتحادية وأكبر مدنها من حيث عدد السكان. "),
    ("Hindi prose", "बर्लिन जर्मनी की राजधानी और सबसे बड़ा शहर है। "),
    ("Thai without spaces", "เบอร์ลินเป็นเมืองหลวงและรัฐหนึ่งในสิบหกรัฐของประเทศเยอรมนี"),
    ("minified JSON", "{\"id\":17,\"a\":[1,2.5e3,null],\"name\":\"x_y\",\"on\":true},"),
    ("base64", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0ODk+abcxyz/09"),
    ("one unbroken word", "supercalifragilisticexpialidocious"),
    ("source code", "if(a[i]>=0x1f&&!b){x+=f(y,z)->w;}\n"),
    ("combining marks", "\u{301}\u{323}\u{302}"),
    ("emoji", "👩‍👩‍👧‍👦😀🇩🇪👍🏽❤️"),
    ("no-break spaces", "\u{a0}"),
    ("zero-width characters", "\u{200b}\u{200d}\u{2060}"),
];

/// About so many bytes of a kind.
pub(crate) fn text(kind: &str, bytes: usize) -> String {
    let (_, unit) = KINDS.iter().find(|(name, _)| *name == kind).expect("a kind");
    unit.repeat(bytes / unit.len())
}

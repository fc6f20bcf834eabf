//! Names of people, companies and things.

/// Where a customer sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Region {
    Americas,
    Emea,
    Apac,
}

impl Region {
    /// The word in the files.
    pub(super) fn word(self) -> &'static str {
        match self {
            Region::Americas => "Americas",
            Region::Emea => "EMEA",
            Region::Apac => "APAC",
        }
    }

    /// Time zones of its people.
    pub(super) fn time_zones(self) -> &'static [&'static str] {
        match self {
            Region::Americas => &[
                "America/New_York",
                "America/Chicago",
                "America/Denver",
                "America/Los_Angeles",
            ],
            Region::Emea => &[
                "Europe/London",
                "Europe/Paris",
                "Europe/Berlin",
                "Europe/Warsaw",
                "Europe/Madrid",
            ],
            Region::Apac => &["Asia/Tokyo", "Asia/Singapore", "Australia/Sydney"],
        }
    }

    /// Given names.
    pub(super) fn given_names(self) -> &'static [&'static str] {
        match self {
            Region::Americas => &[
                "Alicia", "Brandon", "Camila", "Derek", "Elena", "Frank", "Grace", "Hector", "Imani", "Jordan",
                "Kayla", "Luis", "Monique", "Nathan", "Olivia", "Patrick", "Renée", "Samuel", "Teresa", "Victor",
            ],
            Region::Emea => &[
                "Adèle",
                "Bjørn",
                "Clémence",
                "Dieter",
                "Eoin",
                "Françoise",
                "Giulia",
                "Henrik",
                "Inês",
                "Jürgen",
                "Katarzyna",
                "Liam",
                "Marta",
                "Niamh",
                "Óscar",
                "Piotr",
                "Rachel",
                "Søren",
                "Tomás",
                "Zoë",
            ],
            Region::Apac => &[
                "Akira", "Chloe", "Deepak", "Emi", "Farah", "Haruto", "Isla", "Jia", "Kenji", "Lin", "Mei", "Noah",
                "Priyanka", "Ravi", "Sakura", "Wei",
            ],
        }
    }

    /// Family names.
    pub(super) fn family_names(self) -> &'static [&'static str] {
        match self {
            Region::Americas => &[
                "Alvarez",
                "Bennett",
                "Castillo",
                "Donovan",
                "Eastman",
                "Fuentes",
                "Garrison",
                "Hughes",
                "Ibarra",
                "Jackson",
                "Kowalski",
                "Lopez",
                "Mitchell",
                "Nguyen",
                "O'Brien",
                "Peña",
                "Reed",
                "Sullivan",
                "Turner",
                "Washington",
            ],
            Region::Emea => &[
                "Andersson",
                "Brügger",
                "Costa",
                "Dvořák",
                "Eriksen",
                "Fournier",
                "Grünwald",
                "Hargreaves",
                "Ivanova",
                "Jankowski",
                "Keller",
                "Lefèvre",
                "Moreau",
                "Núñez",
                "O'Sullivan",
                "Pettersson",
                "Rossi",
                "Schäfer",
                "van den Berg",
                "Whitfield",
            ],
            Region::Apac => &[
                "Chen",
                "Fujimoto",
                "Gupta",
                "Harris",
                "Ito",
                "Kobayashi",
                "Lim",
                "Mehta",
                "Nakamura",
                "Patel",
                "Sato",
                "Tan",
                "Watanabe",
                "Wong",
            ],
        }
    }
}

pub(super) const INDUSTRIES: &[&str] = &[
    "Software",
    "Healthcare",
    "Logistics",
    "Retail",
    "Insurance",
    "Education",
    "Manufacturing",
    "Hospitality",
    "Media",
    "Utilities",
    "Professional Services",
    "Financial Services",
];

/// First words of made-up company names.
pub(super) const COMPANY_FIRST: &[&str] = &[
    "Amber",
    "Birchwood",
    "Bluestone",
    "Brightleaf",
    "Canyon",
    "Cedarline",
    "Clearwater",
    "Cobalt",
    "Crestview",
    "Driftwood",
    "Eastgate",
    "Elmhurst",
    "Evergreen",
    "Fairhaven",
    "Falcon",
    "Foxglove",
    "Glenmore",
    "Goldcrest",
    "Greyfield",
    "Harborview",
    "Hazelnut",
    "Highland",
    "Hollybrook",
    "Ivory",
    "Kingfisher",
    "Lakeshore",
    "Larkspur",
    "Limestone",
    "Maplewood",
    "Marigold",
    "Midland",
    "Milestone",
    "Moonrise",
    "Northstar",
    "Oakridge",
    "Osprey",
    "Pinecrest",
    "Prairie",
    "Quarry",
    "Redwood",
    "Riverbend",
    "Rosewood",
    "Sandstone",
    "Silverline",
    "Starling",
    "Stonebridge",
    "Sunfield",
    "Thistle",
    "Timberline",
    "Union",
    "Valley",
    "Walnut",
    "Westbrook",
    "Willow",
    "Windmill",
    "Wren",
];

/// Second words of made-up company names.
pub(super) const COMPANY_SECOND: &[&str] = &[
    "Aerospace",
    "Apparel",
    "Automotive",
    "Biotech",
    "Ceramics",
    "Clinics",
    "Components",
    "Consulting",
    "Dairy",
    "Electronics",
    "Events",
    "Farms",
    "Finance",
    "Foods",
    "Foundry",
    "Furniture",
    "Games",
    "Health",
    "Hotels",
    "Interiors",
    "Labs",
    "Learning",
    "Legal",
    "Marine",
    "Materials",
    "Mobility",
    "Networks",
    "Optics",
    "Packaging",
    "Pharma",
    "Plastics",
    "Printing",
    "Properties",
    "Robotics",
    "Security",
    "Services",
    "Sports",
    "Studios",
    "Systems",
    "Tools",
    "Transport",
    "Travel",
];

/// Endings of made-up company names; most have none.
pub(super) const COMPANY_ENDING: &[&str] = &[
    "",
    "",
    "",
    "",
    " Inc.",
    " Group",
    " Ltd",
    " GmbH",
    " & Co.",
    " Holdings",
];

/// Company names that plain ASCII handling would break.
pub(super) const COMPANY_UNUSUAL: &[&str] = &[
    "株式会社ひかり製作所",
    "Müller & Söhne Maschinenbau",
    "Señor Taco's 🌮",
    "Ærø Færgefart",
    "D'Angelo Frères",
    "Ελληνικά Έπιπλα",
    "Ångström <i>Labs</i>",
];

/// Letters, digits and hyphens for a web address; accents are dropped, other scripts left out.
pub(super) fn slug(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        let plain = match letter {
            'á' | 'à' | 'â' | 'ä' | 'ã' | 'å' | 'Å' | 'Á' => "a",
            'é' | 'è' | 'ê' | 'ë' | 'É' => "e",
            'í' | 'ì' | 'î' | 'ï' => "i",
            'ó' | 'ò' | 'ô' | 'ö' | 'õ' | 'ø' | 'Ó' | 'Ø' => "o",
            'ú' | 'ù' | 'û' | 'ü' => "u",
            'ç' => "c",
            'ñ' => "n",
            'ł' | 'Ł' => "l",
            'ř' => "r",
            'ź' | 'ż' => "z",
            'ę' => "e",
            'æ' | 'Æ' => "ae",
            '\'' | '.' => "",
            other => {
                if other.is_ascii_alphanumeric() {
                    out.push(other.to_ascii_lowercase());
                } else if !out.is_empty() && !out.ends_with('-') && other.is_ascii() {
                    out.push('-');
                }
                continue;
            }
        };
        out.push_str(plain);
    }
    out.trim_end_matches('-').to_owned()
}

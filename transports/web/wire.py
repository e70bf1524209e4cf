"""Constants of the Gemini website's wire protocol: names, field indexes, ids; no logic.

If the site changes, change this module first. Source: "The wire protocol of the Gemini website".
"""

# Hosts
SITE = "https://gemini.google.com"
ACCOUNTS = "https://accounts.google.com"
UPLOAD = "https://content-push.googleapis.com"
MEDIA_LINK_SUFFIXES = ("googleusercontent.com", "usercontent.google.com")
MEDIA_SUFFIXES = (*MEDIA_LINK_SUFFIXES, "gstatic.com")

# Session: cookies, the page /app, rotation
PSID = "__Secure-1PSID"
PSIDTS = "__Secure-1PSIDTS"
ROLLING_COOKIES = (PSIDTS, "__Secure-3PSIDTS")
UNREFRESHED_SECONDS = 1200.0
"""A session that is not rotated lives for at least this long, and for at most 30 minutes."""
IDENTITY_COOKIES = (PSID, "SAPISID")
COOKIE_DOMAIN = "google.com"

APP_PATH = "/app"
ROBOTS_PATH = "/robots.txt"
"""A page that every site has and that needs no session (RFC 9309, 2.3)."""
USER_PREFIX = "/u/{}"
"""Path prefix that selects one of several accounts of a browser profile."""
USER_HEADER = "X-Goog-AuthUser"
KEY_ACCESS_TOKEN = "SNlM0e"  # noqa: S105 -- the token's name in the page, not a token
KEY_ACCESS_TOKEN_OTHER = "thykhd"  # noqa: S105 -- the name that some pages give it
KEY_BUILD_LABEL = "cfb2h"
KEY_SESSION_ID = "FdrFJe"
KEY_LANGUAGE = "TuX5cc"
KEY_PUSH_ID = "qKIAYe"
DEFAULT_LANGUAGE = "en"
DEFAULT_PUSH_ID = "feeds/mcudyrk2a4khkz"
"""Push id for pages without one."""

ROTATE_PATH = "/RotateCookies"
ROTATE_BODY = b'[000,"-0000000000000000000"]'
ROTATE_CONTENT_TYPE = "application/json"
ROTATE_INTERVAL = "identity.hfcr"
"""Precedes the seconds until the next rotation in the response."""
ROTATE_INTERVALS = (60.0, 3600.0)
"""Shortest and longest interval that the gateway accepts."""
ROTATE_NEVER = 2147483647
"""Sent instead of the seconds: the site never rotates this session."""

# Common request parts
FORM_CONTENT_TYPE = "application/x-www-form-urlencoded;charset=utf-8"
SAME_DOMAIN_HEADER = "X-Same-Domain"
SAME_DOMAIN = "1"
QUERY_BUILD_LABEL = "bl"
QUERY_SESSION_ID = "f.sid"
QUERY_LANGUAGE = "hl"
QUERY_REQUEST_ID = "_reqid"
QUERY_RESPONSE = "rt"
RESPONSE_CHUNKED = "c"
QUERY_RPC_IDS = "rpcids"
QUERY_SOURCE_PATH = "source-path"
REQUEST_ID_FIRST = (10_000, 99_999)
REQUEST_ID_STEP = 100_000
FORM_ACCESS_TOKEN = "at"  # noqa: S105 -- a field's name
FORM_REQUEST = "f.req"

MODEL_HEADER = "x-goog-ext-525001261-jspb"
MODEL_HEADER_FLAGS = [4, 5, 6, 8]
TIER_HEADER = "x-goog-ext-73010989-jspb"
TIER = "[0]"
TIER_LIST_HEADER = "x-goog-ext-73010990-jspb"
TIER_LIST = "[0,0,0]"
REQUEST_UUID_HEADER = "x-goog-ext-525005358-jspb"

THINKING_STANDARD = 1
THINKING_EXTENDED = 2

MODEL_IDS = {
    "flash": {"free": "fbb127bbb056c959", "plus": "56fdd199312815e2", "advanced": "56fdd199312815e2"},
    "pro": {"free": "9d8ca3786ebdfbea", "plus": "e6fa609c3fa255c0", "advanced": "e6fa609c3fa255c0"},
    "flash-thinking": {"free": "5bf011840784117a", "plus": "e051ce1aa80aa576", "advanced": "e051ce1aa80aa576"},
    "flash-lite": {"free": "cf41b0e0dd7d53e5", "plus": "8c46e95b1a07cecc", "advanced": "8c46e95b1a07cecc"},
}
MODEL_ID_AUTO = "a74ec8485b3b5ce4"
"""The site chooses the model, so its family is unknown."""
MODEL_ID_CURRENT_FLASH = "797f3d0293f288ad"
MODEL_NUMBERS = {"flash": 1, "pro": 3, "flash-thinking": 5, "flash-lite": 6}
CAPACITIES = {"free": 1, "advanced": 2, "ultra": 2, "pro": 3, "plus": 4}

# StreamGenerate: the request's slots
GENERATE_PATH = "/_/BardChatUi/data/assistant.lamda.BardFrontendService/StreamGenerate"
SLOTS = 81
SLOT_PROMPT = 0
SLOT_LANGUAGE = 1
SLOT_CONVERSATION = 2
FRESH_CONVERSATION = ["", "", "", None, None, None, None, None, None, ""]
SLOT_GEM = 19
SLOT_TEMPORARY = 45
TEMPORARY = 1
SLOT_TOOL = 49
TOOL_RESEARCH, TOOL_CANVAS, TOOL_VIDEO, TOOL_IMAGE = 1, 2, 11, 14
GEM_STORYBOOK = "storybook"
SLOT_RESEARCH, SLOT_ASPECT = 54, 55
RESEARCH_SLOTS: dict[int, object] = {54: [[[[[1]]]]], 55: [[1]]}
VIDEO_SLOT_54: list[object] = []
VIDEO_ASPECTS = {(16, 9): [[16]], (9, 16): [[17]]}
SLOT_REQUEST_UUID = 59
SLOT_MODEL_NUMBER = 79
SLOT_THINKING = 80
SLOT_MODE = 6
SLOT_TURN_INDEX = 17
SLOT_INPUT = 41
SLOT_CHAT_STATE, SLOT_CHAT_KIND = 67, 68
"""Both differ between a temporary chat and a saved one."""
FIXED_SLOTS: dict[int, object] = {
    7: 1,
    10: 1,
    11: 0,
    18: 0,
    27: 1,
    30: [4],
    53: 0,
    61: [],
}

# StreamGenerate: attachments, in slot 0
ATTACHMENT_IMAGE, ATTACHMENT_VIDEO, ATTACHMENT_OTHER = 1, 2, 3
ATTACHMENT_TAIL: list[object] = [None, None, None, None, None, None, [0]]
"""Fields after path and name in the long form of an attachment."""

# StreamGenerate: the answer
FRAMES_PREFIX = ")]}'"
PART_ANSWER = "wrb.fr"
PART_END = "e"
PART_KIND, PART_RPC, PART_BODY, PART_ERROR = 0, 1, 2, 5
ERROR_CODE = (2, 0, 1, 0)
"""Path of the code inside an answer part's error."""
PART_REJECTION = (5, 0)
"""Path of the reason code of a rejected batch call."""
REJECTED_DENIED = 7
"""The session is signed out, or this account may not make the call."""
PART_FAILURE = "er"
FAILURE_STATUS = 5
TOKEN_MARK = "xsrf"  # noqa: S105 -- precedes a token in a list
"""In the eleventh field of the part of an HTTP 400; absent if the request itself is wrong."""

INNER_CONVERSATION = 1
INNER_CANDIDATES = 4
INNER_NEWS = 2
"""A dict with updates of the turn."""
NEWS_TOOL = "7"
NEWS_TURN = "18"
INNER_TOOL = 6
TOOL_NAME = (1, 0)
TOOL_WORDS = (1, 1, 2)
TOOL_STATE = (1, 2)
TOOL_DONE = 4
INNER_CONTEXT = 25
INNER_MODEL_ID, INNER_MODEL_NAME = 39, 42
"""The model that answered. Source: "Who answered"."""
CANDIDATE_ID = 0
CANDIDATE_TEXT = (1, 0)
CANDIDATE_SOURCES = (2, 1)
CLAIM_TEXT = (0, 0)
CLAIM_RANGES = (0, 3)
CLAIM_SOURCES = 2
CLAIM_URL, CLAIM_TITLE, CLAIM_PUBLISHER = 0, 1, 6
TEXT_FRAGMENT = ":~:text="
"""Starts the part of a URL that tells a browser which words to highlight."""
CANDIDATE_CARD_TEXT = (22, 0)
CANDIDATE_STATE = (8, 0)
STATE_RUNNING = 1
STATE_COMPLETE = 2
CANDIDATE_THOUGHTS = (37, 0, 0)
CANDIDATE_RICH = 12
CANDIDATE_DOCUMENTS = 30
CARD_TEXT_PREFIXES = ("http://googleusercontent.com/card_content/", "https://googleusercontent.com/card_content/")
MARKUP_TAGS = ("FollowUp", "ElicitationsGroup", "GenerateWidget")
"""Tags in a text that only the site's own page can render."""
MARKUP_LINES = ("FollowUp",)
"""Tags whose content, if any, is on the same line."""
PLACEHOLDER_HOST = "googleusercontent.com"

# Files in
UPLOAD_HOSTS = ("push.clients6.google.com", "content-push.googleapis.com")
"""Hosts that a resumable upload may continue at, in addition to the one in the settings."""
UPLOAD_PATH = "/upload"
RESUMABLE_PATH = "/upload/"
RESUMABLE_NAME = "File name: "
RESUMABLE_START = {"X-Goog-Upload-Command": "start", "X-Goog-Upload-Protocol": "resumable"}
RESUMABLE_LENGTH_HEADER = "X-Goog-Upload-Header-Content-Length"
RESUMABLE_URL_HEADER = "X-Goog-Upload-Url"
RESUMABLE_FINISH = {"X-Goog-Upload-Command": "upload, finalize", "X-Goog-Upload-Offset": "0"}
UPLOAD_FIELD = "file"
UPLOADED = "/"
PUSH_ID_HEADER = "Push-ID"
TENANT_HEADER = "X-Tenant-Id"
TENANT = "bard-storage"

# Media out
RENDITIONS = {"usual": "=s1024-rj", "large": "=s2048-rj", "original": "=s0"}
ORIGINAL_HOP = "=d-I?alr=yes"
ORIGINAL_URL = 0
MEDIA_COOKIES = (
    *("SID", "HSID", "SSID", "APISID", "SAPISID", "NID", "SIDCC", "GOOGLE_ABUSE_EXEMPTION"),
    *(f"__Secure-{party}{name}" for party in ("1P", "3P") for name in ("SID", "APISID", "SIDTS", "SIDRTS", "SIDCC")),
)
"""Cookies sent to media hosts: those of `.google.com`. Media hosts refuse requests with cookies of the site's host."""
PLAYABLE_HOST = "contribution.usercontent.google.com"
PLAYABLE_PATH = "/download"
PLAYABLE_QUERY = "c"
PLAYABLE_WORD = b"response_data"
"""The URL that serves a video has this word in the base64 of its query field; its other URLs do not."""

# Rich content of a candidate
RICH_WEB_PICTURES = 1
WEB_PICTURE_URL = (0, 0, 0)
WEB_PICTURE_ALT = (0, 4)
RICH_PROGRESS = 6
RICH_PICTURES = 7
"""The pictures are at its `[0]`."""
PICTURE_URL = (0, 3, 3)
PICTURE_ID = (1, 0)
RICH_CITATIONS = 43
CITE = "[cite:"
"""Start of a citation marker."""
CITED_MARKER = (0, 0)
CITED_SOURCES = 1
SOURCE = (3, 0)
SOURCE_URL, SOURCE_TITLE = 1, 2
RICH_PLAN = (55, 56)
PLAN_TITLE, PLAN_STEPS, PLAN_ESTIMATE = 0, 1, 2
PLAN_CONFIRM = (3, 0)
STEP_LABEL, STEP_BODY = 1, 2
RICH_FILM = 59
RICH_PENDING = (64, 72)
"""A video or music that is being generated."""
FILM = (0, 0, 0, 0, 7)
RICH_MUSIC = 86
MUSIC_MP3 = (0, 1, 7)
MUSIC_MP4 = (1, 1, 7)
PAIR_URL = 1

DOCUMENT_ID, DOCUMENT_TITLE, DOCUMENT_TASK, DOCUMENT_BODY = 0, 2, 3, 4
DOCUMENT_MIRROR = (17, 0)
DOCUMENT_RICH = ((17, 1), (17,), (5,))
"""Paths of the objects that hold a document's citations, under `RICH_CITATIONS`."""
PAGE_BREAK = r"\n[ \t]*(?:-{3,}|\*{3,}|_{3,})[ \t]*\n\s*"
"""Separator between a book's pages."""
TASK_PLACEHOLDER = "agency-placeholder-task-id"

# In-stream codes
CODE_IMAGE_REFUSED = 1003
CODE_TEMPORARY = 1013
CODE_USAGE_LIMIT = 1037
CODE_MODEL_MISMATCH = 1050
CODE_MODEL_HEADER = 1052
CODE_TOOL_NOT_ALLOWED = 1053
CODE_ADDRESS_BLOCKED = 1060
CODE_SIGN_IN = 1095
CODE_SESSION_NOT_ACCEPTED = 1096
CODE_CONTINUATION_REFUSED = 1097
CODE_ATTACHMENT_NOT_ACCEPTED = 1100
CODE_BROKEN_OFF = 1155
CODE_TOKEN_STALE = 1157

# Account status
STATUS_AVAILABLE = 1000
STATUS_UNAVAILABLE = 1014
STATUS_SIGNED_OUT = 1016
STATUS_REJECTED = 1021
STATUS_UNTRUSTED = 1033
STATUS_TERMS = (1040, 1042)
STATUS_GUARDIAN = (1054, 1057)
STATUS_LOCATION = 1060

# Batch calls
BATCH_PATH = "/_/BardChatUi/data/batchexecute"
BATCH_GENERIC = "generic"
RPC_STATUS = "otAQ7b"
RPC_ACTIVITY = "ESY5D"
RPC_QUOTA = "qpEbW"
RPC_USAGE = "jSf9Qc"
RPC_CHATS = "MaZiqc"
RPC_TURNS = "hNvQHb"
RPC_DELETE = "GzXR5e"
RPC_ORIGINAL = "c8o8Fe"
STATUS_PAYLOAD = "[]"
ACTIVITY_PAYLOAD = '[[["bard_activity_enabled"]]]'
CHATS_PAYLOAD = "[13,null,[0,null,1]]"

CHATS = 2
CHAT_CID = 0
CHAT_SECONDS = (5, 0)
CHAT_LAST_TURN = (6, 0, 1)
TURNS = 0
TURN_RID = (0, 1)
TURN_PROMPT = (2, 0, 0)
TURN_CANDIDATES = (3, 0)

QUOTA_PAYLOAD_FLASH = "[[[1,11],[2,11],[6,11]]]"
QUOTA_PAYLOAD_PRO = "[[[1,4],[6,6],[1,15]]]"
QUOTA_FAMILIES: dict[tuple[int | None, int | None], str] = {
    (1, 11): "flash",
    (2, 11): "flash-thinking",
    (6, 11): "flash-lite",
}
"""Model family of a limit by its id; other ids are limits of the pro models."""
QUOTA_LIMITS = 0
LIMIT_ID = 0
LIMIT_RESET = (3, 0)
LIMIT_TOTAL = 4
LIMIT_REMAINING = 5

# Usage: the answer of `jSf9Qc`
USAGE_PATH = "/usage"
USAGE_PAYLOAD = "[]"
USAGE_TIER = 0
USAGE_TIERS = {1: "free", 2: "pro", 3: "ultra", 4: "plus", 6: "ultra"}
USAGE_WINDOWS = 1
WINDOW_REMAINING, WINDOW_USED, WINDOW_KIND = 0, 1, 2
WINDOW_KINDS = {1: "5h", 2: "week", 3: "credits", 5: "credits"}
WINDOW_RESETS = ((3, 0), (5, 0))
"""Paths of a window's reset time, as `[seconds, nanoseconds]`."""

# Account status: the answer of `otAQ7b`
ACCOUNT_STATUS = 14
ACCOUNT_MODELS = 15
ACCOUNT_TIERS = 16
ACCOUNT_CAPABILITIES = 17
PLAN_PLUS = 115
PLAN_PRO = (16, 106)
PLAN_ADVANCED = (8, 19)
FIELD_13_CAPACITIES = {21: 1, 22: 2}
"""Tier flags of accounts that send their capacity in field 13, and that capacity."""
DISCOVERED_ID = (0,)
DISCOVERED_FAMILY = ((1,), (10,))
DISCOVERED_NAME = ((11,), (19,))
DISCOVERED_DEFAULT = (7, 15)
DISCOVERED_NUMBER = 17

"""The cookies of a browser come out the same, whichever of its tools and extensions copied them.

The forms are those that the tools write: each function renders cookies as one of them does.
"""

import json
import re
import shlex
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from tests.service.cli.conftest import run_in_process
from transports.secret_files import decode_text
from transports.web.session.cookie_export import CookieExportError, check_new, parse_export

PSID, PSIDTS = "__Secure-1PSID", "__Secure-1PSIDTS"
COOKIES = {
    "SID": "g.a000rAhW7mXq-SID.",
    PSID: "g.a000rAhW7mXqT2vKzY9cJ5dLpB8nUeS4wF1gHiO3_kM-ACgYKAXcSARYSFQHGX2Mi",
    PSIDTS: "sidts-CjIBWhotCTx8eYqWm5RrPzNvKs3LdJf0HbUa7GiQoEcXy9T_4-w2V6MhBAA",
    "NID": "511=Xy-z/ab+cd==",
}
URL = "https://gemini.google.com/app"
NOW, LATER, EARLIER = 1_790_000_000.0, 1_820_000_000.0, 1_700_000_000.0


def header(cookies):
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def bash(cookies, option="-b", line=" \\\n  "):
    value = header(cookies) if option == "-b" else f"cookie: {header(cookies)}"
    parts = [f"curl {shlex.quote(URL)}", "-H 'accept: */*'", f"{option} {shlex.quote(value)}", "-H 'x-a: it'\\''s'"]
    return line.join([*parts, "--data-raw $'f.req=\\u0021\\'a\\''", "--compressed"])


def ansi(cookies):
    """Chrome quotes so if a value has an exclamation mark."""
    return f"curl '{URL}' \\\n  -b $'{header(cookies)}' \\\n  -H $'a: it\\'s\\u0021'"


def cmd(cookies, option="-b"):
    """Chrome's Copy as cURL (cmd): a caret before each special character and each quote."""
    value = header(cookies) if option == "-b" else f"cookie: {header(cookies)}"
    value = re.sub(r"([^\w\s:/;.,~-])", r"^\1", value.replace('"', '\\"'))
    lines = [f'curl ^"{URL}^"', '-H ^"accept: */*^"', f'{option} ^"{value}^"', '-H ^"x-a: ^\\^"b^\\^"^"']
    return " ^\r\n  ".join(lines)


def powershell(cookies):
    """Chrome's Copy as PowerShell."""
    added = "\n".join(
        f'$session.Cookies.Add((New-Object System.Net.Cookie("{name}", "{value}", "/", ".google.com")))'
        for name, value in cookies.items()
    )
    return (
        "$session = New-Object Microsoft.PowerShell.Commands.WebRequestSession\n"
        f'$session.UserAgent = "Mozilla/5.0"\n{added}\n'
        f'Invoke-WebRequest -UseBasicParsing -Uri "{URL}" `\n-WebSession $session `\n-Headers @{{\n"accept"="*/*"\n}}'
    )


def fetch(cookies):
    """Chrome's Copy as fetch (Node.js)."""
    options = {"headers": {"accept": "*/*", "cookie": header(cookies)}, "body": None, "method": "GET"}
    return f"fetch({json.dumps(URL)}, {json.dumps(options, indent=2)});"


def har(cookies):
    def entry(url, cookies):
        headers = [{"name": ":authority", "value": "x"}, {"name": "cookie", "value": header(cookies)}]
        request = {"method": "GET", "url": url, "headers": headers, "cookies": []}
        return {"request": request, "response": {"headers": [], "cookies": []}}

    other = {name: f"other-{value}" for name, value in cookies.items()}
    entries = [entry(URL, cookies), entry("https://www.youtube.com/", other)]
    return json.dumps({"log": {"version": "1.2", "creator": {"name": "WebInspector"}, "entries": entries}})


def objects(cookies, **extra):
    """A list of objects, with cookies of other sites too."""
    own = [{"name": name, "value": value, "domain": ".google.com", **extra} for name, value in cookies.items()]
    other = [{"name": name, "value": f"x{value}", "domain": ".youtube.com", **extra} for name, value in cookies.items()]
    return [*other, *own, *other]


def netscape(cookies, separator="\t", only=""):
    rows = [
        [f"{only}{domain}", "TRUE", "/", "TRUE", str(int(LATER)), name, f"{begin}{value}"]
        for domain, begin in ((".youtube.com", "x"), (".google.com", ""), (".google.de", "y"))
        for name, value in cookies.items()
    ]
    return "# Netscape HTTP Cookie File\n# https://curl.se/docs/http-cookies.html\n\n" + "\n".join(
        map(separator.join, rows)
    )


CHROME = ["Name", "Value", "Domain", "Path", "Expires / Max-Age", "Size", "HttpOnly", "Secure", "SameSite", "Priority"]
FIREFOX = [
    "Name",
    "Value",
    "Domain",
    "Path",
    "Expires / Max-Age",
    "Size",
    "HttpOnly",
    "Secure",
    "SameSite",
    "Last Accessed",
]
SAFARI = ["Name", "Value", "Domain", "Path", "Expires", "Size", "Secure", "HttpOnly", "SameSite"]
OLD = ["Name", "Domain", "Path", "Expires on", "Last accessed on", "Value", "HttpOnly", "sameSite"]
CELLS = {
    "Path": "/",
    "Expires / Max-Age": "2027-09-03T10:40:00.000Z",
    "Expires": "03/09/2027, 10:40:00",
    "Expires on": "Fri, 03 Sep 2027 10:40:00 GMT",
    "Last Accessed": "Mon, 30 Nov 2026 10:40:00 GMT",
    "Last accessed on": "Mon, 30 Nov 2026 10:40:00 GMT",
    "Size": "167",
    "HttpOnly": "✓",
    "Secure": "✓",
    "Priority": "High",
}


def table(cookies, columns, *, titles):
    rows = [
        [{"Name": name, "Value": begin + value, "Domain": domain, **CELLS}.get(column, "") for column in columns]
        for domain, begin in ((".google.com", ""), (".youtube.com", "x"))
        for name, value in cookies.items()
    ]
    return "\n".join("\t".join(row) for row in ([columns, *rows] if titles else rows))


def firefox_item(cookies):
    """Firefox's Copy in the storage panel, one cookie after the other."""
    return "\n".join(
        f'{name}:"{value}"\nCreated:"Mon, 30 Nov 2026 10:40:00 GMT"\nDomain:".google.com"\nHostOnly:false'
        f'\nHttpOnly:true\nPath:"/"\nSameSite:"None"\nSecure:true\nSize:{len(value)}'
        for name, value in cookies.items()
    )


def request_lines(cookies, *, http2=False):
    head = [":authority: gemini.google.com", ":method: GET", ":path: /app"] if http2 else ["GET /app HTTP/1.1"]
    crumbs = [f"cookie: {name}={value}" for name, value in cookies.items()]
    return "\n".join([*head, "accept: */*", *(crumbs if http2 else [f"Cookie: {header(cookies)}"]), "user-agent: M: x"])


def stacked(cookies):
    """Chrome's table of headers, copied: names and values on lines of their own."""
    return (
        f":authority\ngemini.google.com\n:path\n/app\naccept\n*/*\ncookie\n{header(cookies)}\nuser-agent\nMozilla/5.0"
    )


WHOLE = {
    "header": header,
    "header with its name": lambda cookies: f"Cookie: {header(cookies)}",
    "header in quotes": lambda cookies: f'"{header(cookies)}"',
    "header in single quotes": lambda cookies: f"'Cookie: {header(cookies)}'",
    "header without blanks": lambda cookies: header(cookies).replace("; ", ";") + ";",
    "header on lines": lambda cookies: header(cookies).replace("; ", ";\r\n"),
    "values in quotes": lambda cookies: "; ".join(f'{name}="{value}"' for name, value in cookies.items()),
    "code fence": lambda cookies: f"```\n{header(cookies)}\n```",
    "curl -b": bash,
    "curl -H": lambda cookies: bash(cookies, "-H"),
    "curl on a line": lambda cookies: bash(cookies, line=" "),
    "curl $''": ansi,
    "curl in double quotes": lambda cookies: f'curl "{URL}" -H "Cookie: {header(cookies)}"',
    "curl --cookie=": lambda cookies: f"curl --cookie={shlex.quote(header(cookies))} {URL}",
    "curl -H without a blank": lambda cookies: f"curl {URL} -H{shlex.quote('Cookie: ' + header(cookies))}",
    "curl of Safari": lambda cookies: f"curl '{URL}' \\\n-X 'GET' \\\n-H 'Cookie: {header(cookies)}' \\\n-H 'A: b'",
    "all as curl": lambda cookies: (
        bash({name: f"x{value}" for name, value in cookies.items()}).replace("gemini.google.com", "www.youtube.com")
        + " ;\n"
        + bash(cookies)
    ),
    "cmd -b": cmd,
    "cmd -H": lambda cookies: cmd(cookies, "-H"),
    "PowerShell": powershell,
    "PowerShell of Firefox": lambda cookies: (
        f'Invoke-WebRequest -Uri "{URL}" -Headers @{{\n"Cookie" = "{header(cookies)}"\n}}'
    ),
    "fetch of Node.js": fetch,
    "code in Python": lambda cookies: f"requests.get({URL!r}, headers={{'Cookie': {header(cookies)!r}}})",
    "HAR": har,
    "request": request_lines,
    "request of HTTP/2": lambda cookies: request_lines(cookies, http2=True),
    "headers in two columns": stacked,
    "JSON of an extension": lambda cookies: json.dumps(
        objects(cookies, expirationDate=LATER, hostOnly=False), indent=4
    ),
    "JSON of Playwright": lambda cookies: json.dumps({"cookies": objects(cookies, expires=LATER), "origins": []}),
    "JSON of Selenium": lambda cookies: json.dumps(objects(cookies, expiry=int(LATER), sameSite="Lax")),
    "JSON without dates": lambda cookies: json.dumps(objects(cookies, expires=-1)),
    "JSON by name": json.dumps,
    "JSON of a header": lambda cookies: json.dumps({"cookie": header(cookies)}),
    "JSON of headers": lambda cookies: json.dumps({"headers": {"Cookie": header(cookies)}}),
    "JSON by domain": lambda cookies: json.dumps(
        {".youtube.com": {name: f"x{value}" for name, value in cookies.items()}, ".google.com": cookies}
    ),
    "cookies.txt": netscape,
    "cookies.txt of HttpOnly": lambda cookies: netscape(cookies, only="#HttpOnly_"),
    "cookies.txt with blanks": lambda cookies: netscape(cookies, "  "),
    "Set-Cookie": lambda cookies: "\n".join(
        f"Set-Cookie: {name}={value}; Domain=.google.com; Path=/; Expires=Fri, 03-Sep-2027 10:40:00 GMT; Secure"
        for name, value in cookies.items()
    ),
    "assignments": lambda cookies: "\n".join(f"{name}={value}" for name, value in cookies.items()),
    "assignment of a header": lambda cookies: f'export GEMINI_COOKIE="{header(cookies)}"\nMODEL=gemini-3-pro\n',
    "rows of Chrome": lambda cookies: table(cookies, CHROME, titles=False),
    "table of Chrome": lambda cookies: table(cookies, CHROME, titles=True),
    "rows of Firefox": lambda cookies: table(cookies, FIREFOX, titles=False),
    "table of Firefox": lambda cookies: table(cookies, FIREFOX, titles=True),
    "rows of Safari": lambda cookies: table(cookies, SAFARI, titles=False),
    "table of Safari": lambda cookies: table(cookies, SAFARI, titles=True),
    "table of an old Firefox": lambda cookies: table(cookies, OLD, titles=True),
    "items of Firefox": firefox_item,
    "lines of JSON": lambda cookies: "\n".join(map(json.dumps, objects(cookies, expirationDate=LATER))),
    "JSON in a string of JSON": lambda cookies: json.dumps(json.dumps(objects(cookies))),
    "JSON with keys": lambda cookies: json.dumps(objects(cookies)).replace('"name"', '"key"'),
    "list in Python": lambda cookies: repr(objects(cookies, secure=True, expiry=int(LATER), sameSite=None)),
    "list in JavaScript": lambda cookies: re.sub(r'"(\w+)":', r"\1:", json.dumps(objects(cookies, secure=True))),
    "zero-width spaces": lambda cookies: header(cookies).replace("=g", "=\u200bg").replace(";", "\u2060;"),
}
PAIR = {
    "two lines": "{0}\n{1}",
    "two lines with a blank line": "{0}\n\n{1}\n",
    "peer's JSON": '{{"secure_1psid": "{0}", "secure_1psidts": "{1}"}}',
    "peer's list": '{{"clients": [{{"id": "a", "secure_1psid": "{0}", "secure_1psidts": "{1}", "proxy": null}}]}}',
    "JSON in capitals": '{{"SECURE_1PSID": "{0}", "SECURE_1PSIDTS": "{1}"}}',
    ".env": "# Gemini\nSECURE_1PSID={0}\nSECURE_1PSIDTS={1}\n",
    ".env in quotes": "export GEMINI_SECURE_1PSID=\"{0}\"\nexport GEMINI_SECURE_1PSIDTS='{1}'",
    ".env of this gateway": "GEMINI_GATEWAY_PSID={0}\nGEMINI_GATEWAY_PSIDTS={1}",
    "YAML": 'gemini:\n  secure_1psid: "{0}"\n  secure_1psidts: "{1}"\n',
    "code": "client = GeminiClient(Secure_1PSID='{0}', Secure_1PSIDTS='{1}')",
    "JavaScript": "{{ '__Secure-1PSID': '{0}', '__Secure-1PSIDTS': '{1}', }}",
    "names and values on lines": "__Secure-1PSID\n{0}\n__Secure-1PSIDTS\n{1}",
    "labels": "__Secure-1PSID: {0}\n__Secure-1PSIDTS: {1}",
    "columns": "__Secure-1PSID    {0}\n__Secure-1PSIDTS  {1}",
    "two columns": "__Secure-1PSID\t{0}\n__Secure-1PSIDTS\t{1}",
    "CSV with semicolons": "name;value;domain\n__Secure-1PSID;{0};.google.com\n__Secure-1PSIDTS;{1};.google.com",
    "code in Markdown": "`__Secure-1PSID`: `{0}`\n`__Secure-1PSIDTS`: `{1}`",
    "arrows": "__Secure-1PSID => {0}\n__Secure-1PSIDTS => {1}",
    "two values on a line": "{0} {1}",
    "two values by a comma": "{0}, {1}",
    "two values by a colon": "{0}:{1}",
    "two values in quotes": "\"{0}\"\n'{1}'",
    "a list of two values": '["{0}", "{1}"]',
    "two values in a sentence": "These are mine:\n{0}\n{1}\nThanks!",
}


def pair(text, cookies):
    return text.format(cookies[PSID], cookies[PSIDTS])


@pytest.mark.parametrize("form", WHOLE)
def test_all_cookies_come_out_of_every_form(form):
    assert parse_export(WHOLE[form](COOKIES), NOW) == COOKIES


@pytest.mark.parametrize("form", PAIR)
def test_the_sign_in_cookies_come_out_of_every_form(form):
    assert parse_export(pair(PAIR[form], COOKIES), NOW) == {PSID: COOKIES[PSID], PSIDTS: COOKIES[PSIDTS]}


@pytest.mark.parametrize("form", WHOLE)
def test_a_session_without_a_rolling_cookie_comes_out_of_every_form(form):
    alone = {name: value for name, value in COOKIES.items() if name != PSIDTS}
    assert parse_export(WHOLE[form](alone), NOW) == alone


@pytest.mark.parametrize("form", ["header", "cookies.txt", "cmd -b", "JSON of an extension", "table of Chrome"])
@pytest.mark.parametrize("save", ["\ufeff{}", "\n\n{}\n \n", "{}\r\n"], ids=["bom", "blanks", "crlf"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
def test_editors_and_shells_do_not_matter(form, save, encoding):
    text = save.format(WHOLE[form](COOKIES).replace("\r\n", "\n").replace("\n", "\r\n"))
    assert parse_export(decode_text(text.encode(encoding)), NOW) == COOKIES


VALUES = st.text("ABCDEFabcdef0123456789-_./", min_size=1, max_size=60)


@given(VALUES, VALUES, VALUES, st.sampled_from(sorted(WHOLE)))
@profile(max_examples=100)
def test_any_values_come_out_of_every_form(psid, psidts, nid, form):
    cookies = {PSID: f"g.a000{psid}", PSIDTS: f"sidts-{psidts}", "NID": f"511={nid}"}
    assert parse_export(WHOLE[form](cookies), NOW) == cookies


@given(st.text(max_size=300) | st.text("{}[]\"':=;,\t\n $^`\\-abcurl__Secure-1PSIDTS", max_size=300))
@profile(max_examples=100)
def test_any_text_is_read_or_refused(text):
    with suppress(CookieExportError):
        assert PSID in parse_export(text, NOW)


@pytest.mark.parametrize("place", range(0, 2000, 97))
@pytest.mark.parametrize("form", ["curl -b", "HAR", "PowerShell", "cookies.txt"])
def test_a_cut_export_shows_no_value(form, place):
    message = ""
    try:
        parse_export(WHOLE[form](COOKIES)[:place], NOW)
    except CookieExportError as error:
        message = str(error)
    assert not any(value[:12] in message for value in COOKIES.values())


GOOD = {PSID: COOKIES[PSID], PSIDTS: COOKIES[PSIDTS]}
FORMS = "this form is not understood; these are: a Cookie header"
REFUSED = [
    (f"SID={COOKIES[PSID]}\n__Secure-3PSID={COOKIES[PSID]}", "holds no __Secure-1PSID"),
    (f"the SID is {COOKIES[PSID]}", FORMS),
    ("", FORMS),
    ("hello world, nothing here", FORMS),
    ("<html><body>__Secure-1PSID</body></html>", FORMS),
    ("NID=511=abc; SID=x", "holds no __Secure-1PSID"),
    (json.dumps([{"name": "NID", "value": "x", "domain": ".google.com"}]), "holds no __Secure-1PSID"),
    (f"fetch({URL!r}, {{'credentials': 'include'}})", FORMS),
    (json.dumps([{"name": PSID, "value": "x" * 60, "domain": ".youtube.com"}]), "is one of youtube.com; copy that of"),
    (bash(GOOD).replace("gemini.google.com", "www.youtube.com"), "is one of www.youtube.com"),
    (header({PSID: COOKIES[PSIDTS], PSIDTS: COOKIES[PSID]}), "are swapped"),
    (header({PSID: COOKIES[PSIDTS]}), f"the value of {PSID} is that of {PSIDTS}"),
    (header({PSID: COOKIES[PSID], PSIDTS: COOKIES[PSID]}), "is that of"),
    (f"{COOKIES[PSIDTS]}\n{COOKIES[PSID]}", "are swapped"),
    (f"{PSID}=g.a000 cut in two; {PSIDTS}=x", "such as a blank"),
    (json.dumps({PSID: "g.a000\x00abcdefgh"}), "holds a character that no cookie may have"),
    (
        json.dumps([{"name": PSID, "value": "x" * 60, "domain": ".google.com", "expirationDate": EARLIER}]),
        "expired on 2023",
    ),
    (netscape(GOOD).replace(str(int(LATER)), str(int(EARLIER))), "expired on 2023-11-14"),
    (f"Set-Cookie: {PSID}={'x' * 60}; Domain=.google.com; Expires=Tue, 14 Nov 2023 22:13:20 GMT", "expired on 2023"),
    (header({PSID: "abc"}), f"the value of {PSID} is too short"),
    (header({PSID: COOKIES[PSID], PSIDTS: "sidts-..."}), f"the value of {PSIDTS} is a placeholder"),
    (header({PSID: "your-psid-value-here"}), "is a placeholder"),
    (header({PSID: "PASTE_YOUR_COOKIE"}), "is a placeholder"),
    (header({PSID: "x" * 12}), "is a placeholder"),
    (header({PSID: "g.a000-xxxxxxxx"}), "is a placeholder"),
    (header({PSID: "g.a000rAhW7mXq…"}), "such as a blank"),
    (header({PSID: "g.a000rAhW7mXq..."}), "or cut off"),
    (header({PSID: "<__Secure-1PSID>"}), "is a placeholder"),
]


@pytest.mark.parametrize(("text", "words"), REFUSED)
def test_what_cannot_be_a_session_is_refused_by_name(text, words):
    with pytest.raises(CookieExportError) as caught:
        check_new(text, NOW, is_simulated=False)
    assert words in str(caught.value)
    assert not any(value in str(caught.value) for value in (COOKIES[PSID], COOKIES[PSIDTS], "x" * 60, "cut in two"))


@pytest.mark.parametrize("letters", ["xXx", "yOuR", "AxxxA", "XXXX", "_your0", "Your-"])
def test_a_random_value_may_contain_the_letters_of_a_placeholder(letters):
    check_new(header({**GOOD, PSID: COOKIES[PSID].replace("mXqT", f"m{letters}T")}), NOW, is_simulated=False)


def test_short_values_are_those_of_a_simulator():
    check_new(header({PSID: "a", PSIDTS: "b"}), NOW, is_simulated=True)


def test_percent_encoded_values_are_decoded():
    encoded = {PSID: COOKIES[PSID].replace(".", "%2E"), PSIDTS: COOKIES[PSIDTS].replace("-", "%2D")}
    assert parse_export(header(encoded)) == GOOD


@pytest.mark.parametrize("form", ["curl -b", "HAR", "table of Firefox", "cookies.txt with blanks"])
def test_an_account_is_added_from_a_file_of_any_form(tmp_path, form):
    (tmp_path / "gateway.toml").write_text("[transports.web]\n")
    (tmp_path / "export").write_text(WHOLE[form](COOKIES), "utf-16")
    done = run_in_process(tmp_path, "accounts", "add", "a", "--secret-file", "export", "--no-check")
    assert (done.returncode, done.stdout.startswith("Added a")) == (0, True), done.stderr
    given = run_in_process(tmp_path, "accounts", "add", "b", "--secret-stdin", given=header({PSID: "abc"}))
    assert (given.returncode, given.stdout) == (1, "")
    assert "is too short" in given.stderr

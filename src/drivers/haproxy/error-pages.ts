// What a user sees when the edge itself answers. Small, without any outside file, and honest about
// whose turn it is.

type Words = readonly [title: string, text: string];

const PAGES: Readonly<Record<number, Words>> = {
  400: ["Bad request", "The request could not be understood."],
  403: ["Forbidden", "This is not open to you."],
  404: ["Nothing here", "No app answers at this address."],
  408: ["Too slow", "The request did not arrive in time."],
  413: ["Too large", "The request is larger than this site accepts."],
  429: ["Too many requests", "Please slow down and try again in a few seconds."],
  500: ["Something broke", "The error is ours. Please try again."],
  502: ["No answer", "The app ended the connection before it answered. Please try again."],
  503: ["Not available", "The app can't answer right now. Please try again in a moment."],
  504: ["No answer in time", "The app took too long to answer. Please try again."],
};

const REASONS: Readonly<Record<number, string>> = {
  400: "Bad Request",
  403: "Forbidden",
  404: "Not Found",
  408: "Request Timeout",
  413: "Content Too Large",
  429: "Too Many Requests",
  500: "Internal Server Error",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
};

const BODY_REFUSED = [
  "Not taken",
  "What was sent is larger than this site accepts, or ended before it was whole.",
] as const;

/** A whole HTTP answer, as HAProxy's `errorfile` wants it. */
export const renderErrorPages = (status: number): string =>
  answer(status, PAGES[status] ?? ["Error", ""]);

function answer(status: number, words: Words, small = String(status)): string {
  const head = [
    `HTTP/1.1 ${status} ${REASONS[status] ?? "Error"}`,
    "cache-control: no-store",
    "content-type: text/html; charset=utf-8",
    ...(status === 429 || status === 503 ? ["retry-after: 5"] : []),
  ];
  return `${head.join("\r\n")}\r\n\r\n${page(words, small)}`;
}

/** Of a body that was not taken: HAProxy puts the status to what it was. */
export const renderBodyRefused = (): string => answer(400, BODY_REFUSED, "");

/** The body for a host that no app claims. */
export const renderNoRoutePage = (): string => renderErrorPage(404);

// In a log-format file `%` has a meaning: the styles do without.
export const renderErrorPage = (status: number): string =>
  page(PAGES[status] ?? ["Error", ""], String(status));

function page([title, text]: Words, small: string): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${title}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:20vh auto;padding:0 1rem;color:#222;background:#fff}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}}h1{font-size:1.5rem}small{color:#888}</style>
<h1>${title}</h1><p>${text}</p><small>${small}</small></html>
`;
}

// What h2spec found: its JUnit report as values, judged against the exceptions that RFC 9113 allows.

/** A case that may fail, with the words that allow it. */
export interface H2specException {
  /** As in {@link H2specCase.name}. */
  readonly name: string;
  /** Section and sentence of RFC 9113, and how our behaviour follows from it. */
  readonly reason: string;
}

export interface H2specCase {
  /** Section and title: `http2/5.1: idle: Sends a DATA frame`. */
  readonly name: string;
  readonly outcome: "passed" | "failed" | "skipped";
  /** What was expected and what came instead; empty when it passed. */
  readonly detail: string;
}

export interface H2specVerdict {
  readonly passed: number;
  /** Failed or skipped, and not on the list: each needs mending. */
  readonly failed: readonly H2specCase[];
  /** Failed or skipped, and on the list. */
  readonly excepted: readonly H2specCase[];
  /** Exceptions whose case passed or does not exist: the list is out of date. */
  readonly stale: readonly H2specException[];
}

const TEST_CASE =
  /<testcase package="([^"]*)" classname="([^"]*)"[^>]*?(?:\/>|>([\s\S]*?)<\/testcase>)/g;

const ENTITIES: Readonly<Record<string, string>> = {
  "&lt;": "<",
  "&gt;": ">",
  "&amp;": "&",
  "&quot;": '"',
  "&apos;": "'",
  "&#34;": '"',
  "&#39;": "'",
};

function plain(text: string): string {
  return text.replace(/&[a-z0-9#]+;/g, (entity) => ENTITIES[entity] ?? entity);
}

/** Reads the file of `h2spec --junit-report`; it writes failures as `error` or `failure` elements. */
export function parseReport(xml: string): H2specCase[] {
  return [...xml.matchAll(TEST_CASE)].map(([, section, title, body = ""]) => {
    const name = plain(`${section}: ${title}`);
    const fault = /<(error|failure)>([\s\S]*?)<\/\1>/.exec(body);
    if (fault !== null) return { name, outcome: "failed", detail: plain(fault[2]!) };
    if (/<skipped/.test(body)) return { name, outcome: "skipped", detail: "h2spec skipped it" };
    return { name, outcome: "passed", detail: "" };
  });
}

/** A skipped case counts as failed: nothing was shown. */
export function judge(
  cases: readonly H2specCase[],
  exceptions: readonly H2specException[],
): H2specVerdict {
  const allowed = new Set(exceptions.map(({ name }) => name));
  const unmet = cases.filter(({ outcome }) => outcome !== "passed");
  const unmetNames = new Set(unmet.map(({ name }) => name));
  return {
    passed: cases.length - unmet.length,
    failed: unmet.filter(({ name }) => !allowed.has(name)),
    excepted: unmet.filter(({ name }) => allowed.has(name)),
    stale: exceptions.filter(({ name }) => !unmetNames.has(name)),
  };
}

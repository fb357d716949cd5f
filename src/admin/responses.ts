// Answers with exactly the headers that the spec names.

/** @param contentType Null leaves the header out, which a string body would otherwise bring along. */
export function textResponse(
  status: number,
  body: string,
  contentType: string | null = "text/plain",
): Response {
  const headers: HeadersInit = contentType === null ? {} : { "content-type": contentType };
  return new Response(new TextEncoder().encode(body), { status, headers });
}

/** No body and no content type: 404, 405, 431. */
export function emptyResponse(status: 403 | 404 | 405 | 431): Response {
  return new Response(null, { status });
}

// What goes wrong between the embed and the gateway, and what the embed says about it.

export interface GraphqlError {
  message: string;
  extensions?: { code?: string; reason?: string; retryAfter?: number; cursor?: string };
}

/** An error that the graph answered with; `errors` has at least one. */
export class GraphqlFailure extends Error {
  readonly code: string;
  readonly reason: string;
  readonly retryAfterMs: number;

  constructor(errors: readonly GraphqlError[]) {
    super(errors[0]?.message ?? 'no message');
    this.code = errors[0]?.extensions?.code ?? '';
    this.reason = errors[0]?.extensions?.reason ?? '';
    this.retryAfterMs = (errors[0]?.extensions?.retryAfter ?? 0) * 1_000;
  }
}

/** An answer that is not the graph's. */
export class HttpFailure extends Error {
  constructor(
    readonly status: number,
    readonly retryAfterMs: number,
  ) {
    super(`the server answered with status ${status}`);
  }
}

/** The reader who began it has no token any more, or somebody else has one: nothing was executed. */
export class TokenRefused extends Error {}

const BUSY = 'The comments have too many visitors right now.';
const TROUBLE = 'The comments have a problem right now.';

const BY_CODE: Record<string, string> = {
  BAD_USER_INPUT: 'This text was not accepted.',
  CSRF_REFUSED: 'This site may not show these comments.',
  FORBIDDEN: 'You are not allowed to do this.',
  NOT_FOUND: 'This discussion is not here any more.',
  OVERLOADED: BUSY,
  RATE_LIMITED: 'You are quicker than the server allows. Wait a moment.',
  SUBGRAPH_OVERLOADED: BUSY,
  SUBGRAPH_UNAVAILABLE: BUSY,
  TOO_MANY_COMMENTS: 'You have written a lot in a short time. Try again later.',
  UNAUTHENTICATED: 'You have to sign in to write here.',
};

/** In words for the reader. */
export function wordsFor(error: unknown): string {
  if (!navigator.onLine) return 'Your device is offline.';
  if (error instanceof TokenRefused) return 'Your sign-in has ended. Sign in again to write.';
  if (error instanceof GraphqlFailure) {
    if (error.reason === 'AUTHOR_BLOCKED') return 'A moderator has blocked you: you cannot write any more.';
    return BY_CODE[error.code] ?? TROUBLE;
  }
  if (error instanceof HttpFailure) {
    if (error.status === 413) return 'This text is too large.';
    return error.status === 429 || error.status === 503 ? BUSY : TROUBLE;
  }
  if (error instanceof DOMException && error.name === 'TimeoutError')
    return 'The comments take too long to answer.';
  return 'The comments cannot be reached right now.';
}

/** How long the server asks to wait before another try, in milliseconds. */
export function waitAskedFor(error: unknown): number {
  return error instanceof GraphqlFailure || error instanceof HttpFailure ? error.retryAfterMs : 0;
}

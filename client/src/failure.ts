// Why a subscription ended, and what can be done about it.

import { cursorIn, type GraphqlError, isRecord } from './contract.js';

/** Events of a while are missing, and the subscription goes on. */
export const SUBSCRIPTION_INTERRUPTED = 'SUBSCRIPTION_INTERRUPTED';
/** The history after the cursor is gone. */
export const RESYNC_REQUIRED = 'RESYNC_REQUIRED';
/** The request is malformed, or its cursor cannot be used. */
export const BAD_USER_INPUT = 'BAD_USER_INPUT';

/** A socket is closed with it by a server that has too much to do ("Try Again Later"). */
export const TRY_AGAIN_LATER = 1013;

/** A server that asks to wait for longer is tried all the same. */
const LONGEST_WAIT_MS = 60 * 60 * 1_000;

/** Errors that another try of the same subscription cannot cure. */
const FINAL_CODES = new Set([
  BAD_USER_INPUT,
  'CSRF_REFUSED',
  'FORBIDDEN',
  'GRAPHQL_PARSE_FAILED',
  'GRAPHQL_VALIDATION_FAILED',
  'NOT_FOUND',
  'OPERATION_RESOLUTION_FAILURE',
  'SUBSCRIPTION_FORBIDDEN',
  'SUBSCRIPTION_SCHEMA_CHANGED',
  'SUBSCRIPTION_TOO_LARGE',
  'UNAUTHENTICATED',
  'UNAUTHORIZED_FIELD_OR_TYPE',
]);

/** Errors that end a subscription, as the contract has them. */
const ENDING_CODES = new Set([
  BAD_USER_INPUT,
  RESYNC_REQUIRED,
  'RATE_LIMITED',
  'SUBSCRIPTION_LAGGED',
  'TOKEN_EXPIRED',
]);

/** Whether an error with this code ends the subscription, wherever it comes. */
export function isEndingCode(code: string): boolean {
  return ENDING_CODES.has(code);
}

/** Whether another try is of no use. */
export function isFinalCode(code: string): boolean {
  return FINAL_CODES.has(code) || /^MAX_\w+_EXCEEDED$/.test(code);
}

export class SubscriptionFailure extends Error {
  override readonly name = 'SubscriptionFailure';
  /** Never empty. */
  readonly errors: readonly GraphqlError[];

  constructor(cause: unknown) {
    const errors = errorsIn(cause);
    super(errors[0]?.message, { cause });
    this.errors = errors;
  }

  /** The code of the first error; empty where there is none, as after a lost connection. */
  get code(): string {
    const code = this.errors[0]?.extensions?.code;
    return typeof code === 'string' ? code : '';
  }

  /** Where the subscription can be resumed. */
  get cursor(): string | undefined {
    return cursorIn(this.errors[0]?.extensions?.cursor);
  }

  /** How long the server asks to wait; 0 where it does not. */
  get waitMs(): number {
    const seconds = this.errors[0]?.extensions?.retryAfter;
    const isTime = typeof seconds === 'number' && seconds > 0;
    return isTime ? Math.min(seconds * 1_000, LONGEST_WAIT_MS) : 0;
  }

  /** Of some of the errors. */
  hasCode(code: string): boolean {
    return this.errors.some(({ extensions }) => extensions?.code === code);
  }
}

/** GraphQL's errors, or what a transport threw or a socket was closed with. */
function errorsIn(cause: unknown): readonly GraphqlError[] {
  const errors = Array.isArray(cause) ? cause.filter(isRecord).map(asError) : [];
  if (errors.length > 0) return errors;
  const reason = isRecord(cause) ? (cause.message ?? cause.reason) : cause;
  const message = typeof reason === 'string' && reason ? reason : 'The connection was lost.';
  const retryAfter = retryAfterIn(cause);
  return [{ message, ...(retryAfter > 0 && { extensions: { retryAfter } }) }];
}

/** After how many seconds a server that closed a socket lets its client come again; 0 where it does not say. */
export function retryAfterIn(close: unknown): number {
  if (!isRecord(close) || close.code !== TRY_AGAIN_LATER || typeof close.reason !== 'string') return 0;
  const seconds = Number(/\bretry-after: (\d{1,9})\b/.exec(close.reason)?.[1] ?? 0);
  return Math.min(seconds, LONGEST_WAIT_MS / 1_000);
}

function asError({ message, extensions, ...rest }: Record<string, unknown>): GraphqlError {
  return {
    ...rest,
    message: typeof message === 'string' ? message : 'The server reported an error without a message.',
    ...(isRecord(extensions) && { extensions }),
  };
}

// The words of "Resumable GraphQL subscriptions", version 1: what a client asks for, and what it gets.

/** The version of the contract that is spoken here. */
export const VERSION = 1;

/** In order and complete, where an event may come again after an interruption; or as it comes. */
export type Guarantee = 'AT_LEAST_ONCE' | 'BEST_EFFORT';

export interface SubscriptionRequest {
  query: string;
  operationName?: string | null | undefined;
  variables?: Record<string, unknown> | null | undefined;
  extensions?: Record<string, unknown> | null | undefined;
}

export interface GraphqlError {
  message: string;
  extensions?: Record<string, unknown>;
}

/** An event, as GraphQL responses are. */
export interface Result<Data = unknown> {
  data?: Data | null;
  errors?: readonly GraphqlError[];
  extensions?: Record<string, unknown>;
}

/** Whether changes reach the server of a subscription. */
export type Status = 'LIVE' | 'INTERRUPTED';

/** The first frame: the subscription stands. */
export interface Frame {
  kept: Guarantee;
}

const CURSOR_CHARS_MAX = 4_096;

/** A cursor that can be kept. Servers that do not know the contract may use any characters. */
export function cursorIn(value: unknown): string | undefined {
  return typeof value === 'string' && value.length > 0 && value.length <= CURSOR_CHARS_MAX
    ? value
    : undefined;
}

/** What a request asks for. */
export function deliveryOf(guarantee: Guarantee, cursor: string | undefined): Record<string, unknown> {
  const isOfContract = cursor !== undefined && /^[!-~]+$/.test(cursor);
  return { version: VERSION, guarantee, status: true, ...(isOfContract && { after: cursor }) };
}

/** The first frame in a message's `extensions.delivery`; nothing where it is of no version that is known here. */
export function frameIn(delivery: Record<string, unknown>): Frame | undefined {
  const { version, kept } = delivery;
  return version === VERSION && (kept === 'AT_LEAST_ONCE' || kept === 'BEST_EFFORT') ? { kept } : undefined;
}

/** The status in a message's `extensions.delivery`, if it has one that is known here. */
export function statusIn({ version, status }: Record<string, unknown>): Status | undefined {
  return version === VERSION && (status === 'LIVE' || status === 'INTERRUPTED') ? status : undefined;
}

/** The `cursor` of an event's one field. */
export function fieldCursorIn(data: object): string | undefined {
  const [event] = Object.values(data) as unknown[];
  return isRecord(event) ? cursorIn(event.cursor) : undefined;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

// GraphQL subscriptions that continue where they stopped. The adapters have entries of their own.

export type { Guarantee, GraphqlError, Result, SubscriptionRequest } from './contract.js';
export {
  BAD_USER_INPUT,
  isFinalCode,
  RESYNC_REQUIRED,
  SUBSCRIPTION_INTERRUPTED,
  SubscriptionFailure,
} from './failure.js';
export { subscribe } from './resume.js';
export type { Gap, Listener, Options, Sendable, Sink, State, Transport } from './resume.js';
export { memoryStore, sessionStore } from './stores.js';
export type { CursorStore, StorageLike } from './stores.js';

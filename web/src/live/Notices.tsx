// What stands in for content: while it loads, and when it cannot be had.

import { CombinedGraphQLErrors, ServerError } from '@apollo/client';

/** An error in words for the reader. */
export function wordsFor(error: unknown): string {
  if (CombinedGraphQLErrors.is(error)) return error.errors[0]?.message ?? 'The server refused.';
  if (ServerError.is(error)) return `The server answered with status ${error.statusCode}.`;
  return 'The server cannot be reached.';
}

export function Failure({ error, onRetry }: { error: unknown; onRetry: () => void }) {
  return (
    <div className="failure" role="alert">
      <p>{wordsFor(error)}</p>
      <button type="button" className="button quiet" onClick={onRetry}>
        Try again
      </button>
    </div>
  );
}

export function ListSkeleton() {
  return (
    <div className="skeleton" role="status" aria-label="Loading posts">
      {[0, 1, 2, 3].map((row) => (
        <div key={row} className="skeleton-row">
          <i />
          <i />
          <i />
        </div>
      ))}
    </div>
  );
}

export function PostSkeleton() {
  return (
    <div className="skeleton skeleton-post" role="status" aria-label="Loading the post">
      <i />
      <i />
      <i />
      <i />
      <i />
      <i />
    </div>
  );
}

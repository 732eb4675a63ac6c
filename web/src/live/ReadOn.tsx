// From the beginning of a post's text to all of it.

import type { MouseEvent, RefObject } from 'react';

import { Failure } from './Notices';
import { hrefOfWhole } from './route';
import type { Whole } from './useWhole';

interface ReadOnProps {
  postId: string;
  whole: Whole;
  link: RefObject<HTMLAnchorElement | null>;
}

/** Without a script, and in another window, the link leads to a page with all of the text. */
export function ReadOn({ postId, whole: { isLoading, error, load }, link }: ReadOnProps) {
  const follow = (event: MouseEvent) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    if (!isLoading) void load();
  };
  if (error !== undefined)
    return <Failure what="The rest of the text" error={error} onRetry={() => void load()} />;
  return (
    <a
      className="more read-on"
      href={hrefOfWhole(postId)}
      ref={link}
      aria-disabled={isLoading || undefined}
      onClick={follow}
    >
      {isLoading ? 'Loading…' : 'Read on'}
    </a>
  );
}

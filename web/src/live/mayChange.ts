// What the reader may do with a post or a comment: the one place that decides which buttons there are.
//
// The server decides what is done. It would also tell (`viewerCanEdit`), but for each reader apart: an event that says
// it cannot be shared by all who follow a post. So the page asks for the author's id, and knows its reader's.

import type { Session } from '../signIn/stored';
import { useSession } from '../signIn/useSession';

interface Authored {
  authorId?: string | null;
}

/** Whether the reader may edit and delete it. Of a text that belongs to nobody, only the server knows. */
export function mayChange({ authorId }: Authored, session: Session | undefined): boolean {
  if (authorId == null) return true;
  return session !== undefined && (session.moderator || session.ids.includes(authorId));
}

export function useMayChange(item: Authored): boolean {
  return mayChange(item, useSession());
}

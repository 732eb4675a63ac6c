// What the reader may do with a post or a comment: the one place that decides which buttons there are.
//
// The server decides what is done. It would also tell (`viewerCanEdit`), but for each reader apart: an event that says
// it cannot be shared by all who follow a post. So the page asks for the author's id, and knows its reader's.

import type { Session } from '../signIn/stored';
import { useCanSignIn, useSession } from '../signIn/useSession';

interface Authored {
  authorId?: string | null;
}

/**
 * Whether the reader may edit and delete it. A text that belongs to nobody belongs to the moderators where people sign
 * in, and to everybody where nobody can.
 */
function mayChange(
  { authorId }: Authored,
  session: Session | undefined,
  canSignIn: boolean | undefined,
): boolean {
  if (session?.moderator) return true;
  if (authorId == null) return canSignIn === false;
  return session !== undefined && session.ids.includes(authorId);
}

export function useMayChange(item: Authored): boolean {
  return mayChange(item, useSession(), useCanSignIn());
}

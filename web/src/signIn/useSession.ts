// The session for React.

import { useSyncExternalStore } from 'react';

import { currentSession, onSession, onSignInOffer, type Session, signInIsOffered } from './session';

export function useSession(): Session | undefined {
  return useSyncExternalStore(onSession, currentSession);
}

/** Whether there is a service to sign in at; undefined until that is known. */
export function useCanSignIn(): boolean | undefined {
  return useSyncExternalStore(onSignInOffer, signInIsOffered);
}

// The session for React.

import { useEffect, useState, useSyncExternalStore } from 'react';

import { currentSession, onSession, type Session, tokenService } from './session';

export function useSession(): Session | undefined {
  return useSyncExternalStore(onSession, currentSession);
}

/** Whether there is a service to sign in at; false until that is known. */
export function useCanSignIn(): boolean {
  const [can, setCan] = useState(false);
  useEffect(() => {
    let isShown = true;
    void tokenService().then((url) => isShown && setCan(url !== undefined));
    return () => {
      isShown = false;
    };
  }, []);
  return can;
}

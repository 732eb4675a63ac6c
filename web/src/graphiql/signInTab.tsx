// Signing in at GraphiQL: the token goes to the headers editor of each tab, and is renewed there.

import { type GraphiQLPlugin, useGraphiQL } from '@graphiql/react';
import { useEffect } from 'react';

import { signOut } from '../signIn/session';
import { SignInForm } from '../signIn/SignInForm';
import { useSession } from '../signIn/useSession';
import { withToken } from './authorization';

export const signInTab: GraphiQLPlugin = { title: 'Sign in', icon: PersonIcon, content: SignInTab };

/** Keeps the headers editor of the tab that is open true to the session. */
export function HeadersBridge() {
  const token = useSession()?.token;
  const editor = useGraphiQL((state) => state.headerEditor);
  const activeTabIndex = useGraphiQL((state) => state.activeTabIndex);
  const tabs = useGraphiQL((state) => state.tabs.length);
  useEffect(() => {
    const text = editor?.getValue() ?? '';
    const signed = withToken(text, token);
    if (signed !== text) editor?.setValue(signed);
  }, [token, editor, activeTabIndex, tabs]);
  return null;
}

function PersonIcon() {
  return (
    <svg viewBox="0 0 16 16" fill="none" stroke="currentColor" strokeWidth="1.5" aria-hidden="true">
      <circle cx="8" cy="5" r="3" />
      <path d="M2 15c0-3.3 2.7-5 6-5s6 1.7 6 5" />
    </svg>
  );
}

function SignInTab() {
  const session = useSession();
  return (
    <section className="plan" aria-label="Sign in">
      <h2 className="plan-title">{session ? 'Signed in' : 'Sign in'}</h2>
      {session ? (
        <>
          <p>
            You are {session.name}
            {session.moderator && ', a moderator'}. Your token is in the headers of each tab; it is renewed by
            itself, also for subscriptions.
          </p>
          <button type="button" className="graphiql-button" onClick={signOut}>
            Sign out
          </button>
        </>
      ) : (
        <>
          <p>Sets the header Authorization of each tab, for queries, mutations and subscriptions.</p>
          <SignInForm buttonClass="graphiql-button" />
        </>
      )}
    </section>
  );
}

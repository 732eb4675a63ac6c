// Who one is on this page: signing in, and out. Nothing where nobody can sign in.

import { useEffect, useRef, useState } from 'react';

import { signOut } from '../signIn/session';
import { SignInForm } from '../signIn/SignInForm';
import { useCanSignIn, useSession } from '../signIn/useSession';
import { rememberedAuthor } from './authorName';

export function Account() {
  const session = useSession();
  const canSignIn = useCanSignIn();
  const [isOpen, setOpen] = useState(false);
  if (!canSignIn && !session) return null;

  return (
    <>
      <button
        type="button"
        className="button quiet account"
        aria-haspopup="dialog"
        onClick={() => setOpen(true)}
      >
        {session ? (
          <>
            <span className="unseen">Signed in as </span>
            {session.name}
          </>
        ) : (
          'Sign in'
        )}
      </button>
      {isOpen && <AccountDialog onClosed={() => setOpen(false)} />}
    </>
  );
}

function AccountDialog({ onClosed }: { onClosed: () => void }) {
  const session = useSession();
  const dialog = useRef<HTMLDialogElement>(null);
  // The browser gives the focus back to the button when it closes a modal dialog.
  const close = () => dialog.current?.close();
  useEffect(() => {
    const shown = dialog.current;
    if (shown && !shown.open) shown.showModal();
  }, []);

  return (
    <dialog
      ref={dialog}
      className="account-dialog"
      aria-labelledby="account-title"
      onClose={onClosed}
      onClick={(event) => event.target === dialog.current && close()}
    >
      <div className="account-body">
        <h2 id="account-title">{session ? `Signed in as ${session.name}` : 'Sign in'}</h2>
        {session ? (
          <>
            <p>What you write carries this name.{session.moderator && ' You are a moderator.'}</p>
            <div className="form-actions">
              <button
                type="button"
                className="button"
                onClick={() => {
                  close();
                  signOut();
                }}
              >
                Sign out
              </button>
              <button type="button" className="button quiet" onClick={close}>
                Close
              </button>
            </div>
          </>
        ) : (
          <>
            <p>What you write then carries your name.</p>
            <SignInForm initialName={rememberedAuthor()} buttonClass="button" onDone={close} />
            <button type="button" className="text" onClick={close}>
              Stay signed out
            </button>
          </>
        )}
      </div>
    </dialog>
  );
}

// The statistics page.

import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

import { Statistics } from './Statistics';
import './stats.css';

const root = document.getElementById('root');
if (!root) throw new Error('stats.html has no #root');

createRoot(root).render(
  <StrictMode>
    <Statistics />
  </StrictMode>,
);

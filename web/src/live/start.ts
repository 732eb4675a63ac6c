// The page's first script: it asks for what is shown first, and loads the page meanwhile.

import './graph/started';
import './style/page.css';
import './style/post.css';
import './style/controls.css';
import './style/prose.css';
import './style/print.css';
import './prose/ahead';

void import('./main');

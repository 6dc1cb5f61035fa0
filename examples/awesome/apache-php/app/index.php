<?php echo "PHP answers " . strrev("ehcapA dniheb") . ".\n";

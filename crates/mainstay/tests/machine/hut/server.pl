#!/usr/bin/perl
# The least web server: PORT VERSION [SECONDS BEFORE IT LISTENS] [MARK]. One process for each connection. It answers any
# path but the health of another version: `/health-VERSION`.
use strict;
use warnings;
use IO::Socket::INET;

my ($port, $version, $delay) = @ARGV;
$SIG{CHLD} = 'IGNORE';
my $is_stopping = 0;
$SIG{TERM} = sub { $is_stopping = 1 };
select(undef, undef, undef, $delay || 0);
my $listener = IO::Socket::INET->new(LocalPort => $port, Listen => 128, ReuseAddr => 1) or die "listen: $!";
print STDERR "listening on $port\n";
until ($is_stopping) {
    my $peer = $listener->accept or next;
    if (fork) { close $peer; next }
    $SIG{TERM} = 'DEFAULT';
    while (defined(my $request = <$peer>)) {
        while (defined(my $line = <$peer>)) { last if $line =~ /^\r?$/ }
        my $body = "version $version\n";
        my $status = $request =~ m{ /health-(\S+) } && $1 ne $version ? "404 Not Found" : "200 OK";
        print $peer "HTTP/1.1 $status\r\ncontent-length: " . length($body) . "\r\n\r\n$body";
    }
    exit 0;
}
print STDERR "stopped\n";
